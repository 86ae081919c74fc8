package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// unixPrefix begins an address that is a socket in the file system.
const unixPrefix = "unix:"

// listen opens an address: host:port, [::1]:port or unix:/path. name is the key
// that configures it, for errors, which are *Error.
func listen(ctx context.Context, name, address string) (*listener, error) {
	network, path := "tcp", address
	if p, ok := strings.CutPrefix(address, unixPrefix); ok {
		network, path = "unix", p
		if err := removeStale(ctx, name, p); err != nil {
			return nil, err
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, network, path)
	if err != nil {
		return nil, listenError(name, address, err)
	}
	return &listener{Listener: l}, nil
}

func listenError(name, address string, err error) error {
	e := &Error{What: fmt.Sprintf("%s: can't listen on %s", name, address), Err: cause(err)}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Hint = fmt.Sprintf("another process has it: stop that, or change %s", name)
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "this user may not open it: choose a port above 1023, or a path that it may write"
	case errors.Is(err, fs.ErrNotExist):
		e.Hint = "make the folder first"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Hint = "this machine has no such address"
	default:
		e.Hint = fmt.Sprintf("%s is host:port, [::1]:port or unix:/path", name)
	}
	return e
}

// cause is what is behind an error of package net, which repeats the address.
func cause(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	var sys *os.SyscallError
	if errors.As(op.Err, &sys) {
		return sys.Err
	}
	return op.Err
}

// removeStale removes a socket that nobody answers on, as a process that was
// killed leaves it. It removes nothing else.
func removeStale(ctx context.Context, name, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return listenError(name, unixPrefix+path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return &Error{
			What: fmt.Sprintf("%s: %s is there and is no socket", name, path),
			Hint: fmt.Sprintf("remove it, or change %s", name),
		}
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(listenError(name, unixPrefix+path, syscall.EADDRINUSE), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return listenError(name, unixPrefix+path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return listenError(name, unixPrefix+path, err)
	}
	return nil
}

// listener counts its open connections.
type listener struct {
	net.Listener
	open atomic.Int64
}

// Accept is the listener's.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	return &countedConn{Conn: c, closed: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
}

// countedConn tells its listener when it is closed.
type countedConn struct {
	net.Conn
	closed func()
}

// Close is the connection's.
func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
