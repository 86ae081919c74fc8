package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// servers are the processes under test.
type servers struct {
	service, accepting, rejecting *process
	cancel                        context.CancelFunc
}

// of is the one that a scenario asks.
func (s *servers) of(x scenario) *process {
	switch {
	case x.service:
		return s.service
	case x.reject:
		return s.rejecting
	}
	return s.accepting
}

// all are those that were started.
func (s *servers) all() []*process {
	var all []*process
	for _, p := range []*process{s.service, s.accepting, s.rejecting} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// stop ends all of them and waits until they have.
func (s *servers) stop() {
	s.cancel()
	for _, p := range s.all() {
		<-p.ended
	}
}

// process is a server that was started.
type process struct {
	name, address string
	cmd           *exec.Cmd
	ended         chan struct{} // closed when it has
	err           error         // why, once it has
}

const (
	startWithin = 10 * time.Second
	stopWithin  = 15 * time.Second // then it is killed
)

// startAll starts the servers on free ports of loopback. What it returns is to
// be stopped, also with an error.
func startAll(ctx context.Context, o *options, stderr io.Writer) (*servers, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &servers{cancel: cancel}
	address, err := freeAddress(ctx)
	if err != nil {
		return s, err
	}
	config, err := filepath.Abs(o.config)
	if err != nil {
		return s, err
	}
	s.service, err = start(ctx, "extauthz", address, stderr, o.extauthz, "serve",
		"--config", config, "--grpc", address, "--metrics", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn")
	if err != nil {
		return s, err
	}
	for _, n := range []struct {
		to     **process
		reject string
	}{{&s.accepting, "-reject=false"}, {&s.rejecting, "-reject=true"}} {
		if address, err = freeAddress(ctx); err != nil {
			return s, err
		}
		if *n.to, err = start(ctx, "noop", address, stderr, o.noop, "-grpc", address, n.reject); err != nil {
			return s, err
		}
	}
	for _, p := range s.all() {
		if err := p.ready(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

// freeAddress is one that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// start starts a server, which ends when ctx does, or when this process dies.
func start(ctx context.Context, name, address string, stderr io.Writer, path string, args ...string) (*process, error) {
	p := &process{name: name, address: address, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, path, args...)
	p.cmd.Stderr = stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopWithin
	// The kernel tells by the thread that started it, which is main's.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// ready waits until the server can be connected to.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return p.gone()
		case <-ctx.Done():
			return fmt.Errorf("%s isn't listening on %s: %w", p.name, p.address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// gone is the error of a server that has ended by itself, nil while it runs.
func (p *process) gone() error {
	select {
	case <-p.ended:
	default:
		return nil
	}
	err := p.err
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("%s has ended: %w", p.name, err)
}
