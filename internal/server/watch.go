package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
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

// watcher tells when the bytes of files, or of those in a folder, have changed,
// whether one was written in place, another was moved over it, or a symbolic link
// on the way to it was changed, as Kubernetes does with what it mounts.
type watcher struct {
	files  []*watchedFile
	log    *slog.Logger
	notify *fsnotify.Watcher
}

// watchedFile is a file that is watched, or a folder.
type watchedFile struct {
	path string
	// sum is a hash of what is there, in hex.
	sum    func(path string) (string, error)
	seen   string // the sum of what was last told of
	broken bool   // it couldn't be read then
}

// sumFile is the SHA-256 of a file, in hex.
func sumFile(path string) (string, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the path is whoever starts the process's to choose
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// newWatcher begins to watch files as they are. The caller calls run, and close
// at the end.
func newWatcher(paths []string, log *slog.Logger) (*watcher, error) {
	files := make([]*watchedFile, len(paths))
	for i, path := range paths {
		files[i] = &watchedFile{path: path, sum: sumFile}
	}
	return watch(files, log)
}

// watch begins to watch. Of a file that was seen already it tells where it holds
// something else by now.
func watch(files []*watchedFile, log *slog.Logger) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		paths := make([]string, len(files))
		for i, f := range files {
			paths[i] = f.path
		}
		return nil, fmt.Errorf("watching %s: %w", strings.Join(paths, ", "), err)
	}
	w := &watcher{log: log, notify: notify, files: files}
	w.follow()
	for _, f := range files {
		known := f.seen
		f.changed()
		if !strings.HasPrefix(f.seen, known) {
			f.broken = true
		}
	}
	return w, nil
}

func (w *watcher) close() error { return w.notify.Close() }

// follow watches the folder that each file is in, the one that it really is in,
// and those of the links on the way: a file of its own can be replaced, and its
// watch with it.
func (w *watcher) follow() {
	for _, f := range w.files {
		folders := append(onTheWay(f.path), filepath.Dir(f.path))
		if target, err := filepath.EvalSymlinks(f.path); err == nil {
			folders = append(folders, filepath.Dir(target))
			if info, err := os.Stat(target); err == nil && info.IsDir() {
				folders = append(folders, target)
			}
		}
		for _, folder := range folders {
			if err := w.notify.Add(folder); err != nil {
				w.log.Warn("changes of a file are seen late", "file", f.path, "folder", folder, "within", lookAgain, "err", err)
			}
		}
	}
}

// onTheWay are the folders that have a symbolic link which a path goes through.
func onTheWay(path string) []string {
	var folders []string
	for at := filepath.Clean(path); at != filepath.Dir(at); at = filepath.Dir(at) {
		if info, err := os.Lstat(at); err == nil && info.Mode().Type() == fs.ModeSymlink {
			folders = append(folders, filepath.Dir(at))
		}
	}
	return folders
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
	sum, err := f.sum(f.path)
	if err != nil {
		was := f.broken
		f.broken = true
		return !was
	}
	same := sum == f.seen && !f.broken
	f.seen, f.broken = sum, false
	return !same
}
