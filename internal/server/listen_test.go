package server

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListen(t *testing.T) {
	taken, err := listen(t.Context(), "listen.grpc", "127.0.0.1:0")
	mustDo(t, err)
	defer func() { mustDo(t, taken.Close()) }()
	dir := t.TempDir()
	live, err := listen(t.Context(), "listen.grpc", "unix:"+filepath.Join(dir, "live"))
	mustDo(t, err)
	defer func() { mustDo(t, live.Close()) }()
	mustDo(t, os.WriteFile(filepath.Join(dir, "file"), []byte("precious"), 0o600))

	for name, tc := range map[string]struct{ address, want, hint string }{
		"taken port":   {taken.Addr().String(), "listen.grpc: can't listen on " + taken.Addr().String() + ": address already in use", "another process has it"},
		"no port":      {"127.0.0.1", "listen.grpc: can't listen on 127.0.0.1: ", "host:port"},
		"no folder":    {"unix:" + filepath.Join(dir, "none", "s"), "no such file or directory", "make the folder first"},
		"a file":       {"unix:" + filepath.Join(dir, "file"), "is there and is no socket", "remove it"},
		"live socket":  {"unix:" + filepath.Join(dir, "live"), "address already in use", "another process has it"},
		"other's host": {"192.0.2.1:0", "can't listen on 192.0.2.1:0", "no such address"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := listen(t.Context(), "listen.grpc", tc.address)
			if err == nil {
				mustDo(t, l.Close())
				t.Fatal("no error")
			}
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(e.Hint, tc.hint) {
				t.Errorf("%v (%q), want %q (%q)", err, e.Hint, tc.want, tc.hint)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "precious" {
		t.Errorf("the file that was in the way: %q %v", b, err)
	}
}

func TestSocketLeftBehindIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	mustDo(t, err)
	l.SetUnlinkOnClose(false)
	mustDo(t, l.Close())

	again, err := listen(t.Context(), "listen.grpc", "unix:"+path)
	mustDo(t, err)
	mustDo(t, again.Close())
	if _, err := os.Stat(path); err == nil {
		t.Error("a socket in order leaves nothing behind")
	}
}

func TestListenerCountsConnections(t *testing.T) {
	l, err := listen(t.Context(), "listen.grpc", "[::1]:0")
	if err != nil {
		t.Skip(err)
	}
	defer func() { mustDo(t, l.Close()) }()
	client, err := net.Dial("tcp", l.Addr().String())
	mustDo(t, err)
	defer func() { mustDo(t, client.Close()) }()
	conn, err := l.Accept()
	mustDo(t, err)
	if n := l.open.Load(); n != 1 {
		t.Errorf("%d open, want 1", n)
	}
	mustDo(t, conn.Close())
	_ = conn.Close() // the second time counts nothing
	if n := l.open.Load(); n != 0 {
		t.Errorf("%d open after closing, want 0", n)
	}
}
