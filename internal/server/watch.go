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
	// quiet is how long a file must be left alone before it is read: whoever
	// writes it may not be done.
	quiet = 50 * time.Millisecond
	// lookAgain is how often the file is read where no notification comes: not
	// every file system has them.
	lookAgain = time.Minute
)

// watcher tells when the bytes of a file have changed, whether it was written in
// place, another was moved over it, or a symbolic link on the way to it was
// changed, as Kubernetes does with mounted configuration.
type watcher struct {
	path   string
	log    *slog.Logger
	notify *fsnotify.Watcher
	seen   [sha256.Size]byte // of the bytes last told of
	broken bool              // the file couldn't be read then
}

// newWatcher begins to watch a file of which the bytes with a SHA-256 that begins
// with known, in hex, are known already. The caller calls run, and close at the
// end.
func newWatcher(path, known string, log *slog.Logger) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", path, err)
	}
	w := &watcher{path: path, log: log, notify: notify}
	w.follow()
	w.changed()
	if !strings.HasPrefix(hex.EncodeToString(w.seen[:]), known) { // changed since
		w.broken = true
	}
	return w, nil
}

func (w *watcher) close() error { return w.notify.Close() }

// follow watches the folder that the file is in, and the one that it really is
// in: a file of its own can be replaced, and its watch with it.
func (w *watcher) follow() {
	folders := []string{filepath.Dir(w.path)}
	if target, err := filepath.EvalSymlinks(w.path); err == nil {
		folders = append(folders, filepath.Dir(target))
	}
	for _, folder := range folders {
		if err := w.notify.Add(folder); err != nil {
			w.log.Warn("changes of the configuration are seen late", "folder", folder, "within", lookAgain, "err", err)
		}
	}
}

// run calls changed each time the file holds other bytes, until ctx is done.
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
			w.log.Warn("watching the configuration", "err", err)
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

// changed reports whether the file holds other bytes than when it was last
// asked. A file that can't be read has changed once.
func (w *watcher) changed() bool {
	data, err := os.ReadFile(w.path)
	if err != nil {
		was := w.broken
		w.broken = true
		return !was
	}
	sum := sha256.Sum256(data)
	same := sum == w.seen && !w.broken
	w.seen, w.broken = sum, false
	return !same
}
