package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// mounted lays out a folder as Kubernetes does for a ConfigMap: the file is a
// link through ..data, which is moved to another folder at each change.
func mounted(t *testing.T, dir, version, content string) {
	t.Helper()
	data := filepath.Join(dir, "..v"+version)
	mustDo(t, os.Mkdir(data, 0o700))
	mustDo(t, os.WriteFile(filepath.Join(data, "extauthz.yaml"), []byte(content), 0o600))
	tmp := filepath.Join(dir, "..data_tmp")
	mustDo(t, os.Symlink("..v"+version, tmp))
	mustDo(t, os.Rename(tmp, filepath.Join(dir, "..data")))
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watched runs a watcher and returns how it tells of changes.
func watched(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	known, err := os.ReadFile(path)
	mustDo(t, err)
	return watchedSince(t, path, known)
}

// watchedSince watches a file that was known to hold some bytes.
func watchedSince(t *testing.T, path string, known []byte) <-chan struct{} {
	t.Helper()
	sum := sha256.Sum256(known)
	w, err := watch([]*watchedFile{{path: path, sum: sumFile, seen: hex.EncodeToString(sum[:6])}}, slog.New(slog.DiscardHandler))
	mustDo(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	before := goleak.IgnoreCurrent() // such as the local DynamoDB
	told, done := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx, func() { told <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		mustDo(t, w.close())
		goleak.VerifyNone(t, before)
	})
	return told
}

func awaitTold(t *testing.T, told <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		t.Fatalf("nothing was told of %s", what)
	}
}

func TestWatchAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "extauthz.yaml")
	mustDo(t, os.WriteFile(path, []byte("a"), 0o600))
	told := watched(t, path)

	mustDo(t, os.WriteFile(path, []byte("b"), 0o600))
	awaitTold(t, told, "a file written in place")
	mustDo(t, os.WriteFile(path+".new", []byte("c"), 0o600))
	mustDo(t, os.Rename(path+".new", path))
	awaitTold(t, told, "a file moved over it")
	mustDo(t, os.Remove(path))
	awaitTold(t, told, "its removal")
	mustDo(t, os.WriteFile(path, []byte("c"), 0o600))
	awaitTold(t, told, "its return")

	// What doesn't change the bytes is nothing to tell of.
	mustDo(t, os.WriteFile(path, []byte("c"), 0o600))
	mustDo(t, os.WriteFile(filepath.Join(filepath.Dir(path), "other"), []byte("x"), 0o600))
	select {
	case <-told:
		t.Error("told of a file that holds the same")
	case <-time.After(4 * quiet):
	}
}

func TestWatchTellsOfWhatChangedBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "extauthz.yaml")
	mustDo(t, os.WriteFile(path, []byte("b"), 0o600))
	awaitTold(t, watchedSince(t, path, []byte("a")), "a change before it began")
}

func TestWatchAMountedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "extauthz.yaml")
	mounted(t, dir, "1", "a")
	mustDo(t, os.Symlink(filepath.Join("..data", "extauthz.yaml"), path))
	told := watched(t, path)
	for _, version := range []string{"2", "3"} {
		mounted(t, dir, version, "content "+version)
		awaitTold(t, told, "version "+version)
	}
}

func TestWatchAFileBehindALink(t *testing.T) {
	target := filepath.Join(t.TempDir(), "real.yaml")
	mustDo(t, os.WriteFile(target, []byte("a"), 0o600))
	path := filepath.Join(t.TempDir(), "extauthz.yaml")
	mustDo(t, os.Symlink(target, path))
	told := watched(t, path)
	mustDo(t, os.WriteFile(target, []byte("b"), 0o600))
	awaitTold(t, told, "a change of what the link leads to")
}
