package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long files must be left alone before they are read: whoever
	// writes them may not be done.
	quiet = 50 * time.Millisecond
	// lookAgain is how often the file is read where no notification comes: not
	// every file system has them.
	lookAgain = time.Minute
)

// watcher tells when the bytes of files have changed, whether one was written in
// place, another was moved over it, or a symbolic link on the way to it was
// changed, as Kubernetes does with what it mounts.
type watcher struct {
	files  []*watchedFile
	log    *slog.Logger
	notify *fsnotify.Watcher
}

// watchedFile is a file that is watched.
type watchedFile struct {
	path   string
	seen   [sha256.Size]byte // of the bytes last told of
	broken bool              // the file couldn't be read then
}

// newWatcher begins to watch files as they are. The caller calls run, and close
// at the end.
func newWatcher(paths []string, log *slog.Logger) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", strings.Join(paths, ", "), err)
	}
	w := &watcher{log: log, notify: notify}
	for _, path := range paths {
		w.files = append(w.files, &watchedFile{path: path})
	}
	w.follow()
	w.changed()
	return w, nil
}

// newWatcherSince begins to watch a file of which the bytes with a SHA-256 that
// begins with known, in hex, are known already: others are told of.
func newWatcherSince(path, known string, log *slog.Logger) (*watcher, error) {
	w, err := newWatcher([]string{path}, log)
	if err != nil {
		return nil, err
	}
	if f := w.files[0]; !strings.HasPrefix(hex.EncodeToString(f.seen[:]), known) {
		f.broken = true
	}
	return w, nil
}

func (w *watcher) close() error { return w.notify.Close() }

// follow watches the folder that each file is in, and the one that it really is
// in: a file of its own can be replaced, and its watch with it.
func (w *watcher) follow() {
	for _, f := range w.files {
		folders := []string{filepath.Dir(f.path)}
		if target, err := filepath.EvalSymlinks(f.path); err == nil {
			folders = append(folders, filepath.Dir(target))
		}
		for _, folder := range folders {
			if err := w.notify.Add(folder); err != nil {
				w.log.Warn("changes of a file are seen late", "file", f.path, "folder", folder, "within", lookAgain, "err", err)
			}
		}
	}
}

// run calls changed each time a file holds other bytes, until ctx is done.
func (w *watcher) run(ctx context.Context, changed func()) {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.notify.Events:
			if !ok {
				return
			}
			timer.Reset(quiet)
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			w.log.Warn("watching files", "err", err)
			timer.Reset(quiet)
		case <-timer.C:
			timer.Reset(lookAgain)
			w.follow()
			if w.changed() {
				changed()
			}
		}
	}
}

// changed reports whether a file holds other bytes than when it was last asked.
func (w *watcher) changed() bool {
	changed := false
	for _, f := range w.files {
		changed = f.changed() || changed
	}
	return changed
}

// changed is the watcher's, for one file. One that can't be read has changed
// once.
func (f *watchedFile) changed() bool {
	data, err := os.ReadFile(f.path)
	if err != nil {
		was := f.broken
		f.broken = true
		return !was
	}
	sum := sha256.Sum256(data)
	same := sum == f.seen && !f.broken
	f.seen, f.broken = sum, false
	return !same
}
