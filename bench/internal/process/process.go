// Package process starts the servers that are measured, and ends them. Linux
// only; it imports the standard library alone. Start at Group.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	startWithin = 10 * time.Second
	stopWithin  = 15 * time.Second // then it is killed
)

// Group is processes that end together: with the context that it was made with,
// or by Stop. The goroutine that starts them is locked to its thread by the
// caller, as long as they are to live: the kernel ends them with that thread,
// so that none outlives a program that is killed.
type Group struct {
	ctx    context.Context //nolint:containedctx // what ends the processes
	cancel context.CancelFunc
	stderr io.Writer
	all    []*Process
}

// NewGroup makes an empty group, whose processes write their errors to stderr.
func NewGroup(ctx context.Context, stderr io.Writer) *Group {
	ctx, cancel := context.WithCancel(ctx)
	return &Group{ctx: ctx, cancel: cancel, stderr: stderr}
}

// Process is a server that was started.
type Process struct {
	Name, Address string
	cmd           *exec.Cmd
	ended         chan struct{} // closed when it has
	err           error         // why, once it has
}

// Command is what to start.
type Command struct {
	Name    string // for errors
	Address string // where it will listen
	Path    string // of its binary
	Args    []string
	Env     []string // beside this process's own
}

// Start starts a server. It doesn't wait until that is ready.
func (g *Group) Start(c Command) (*Process, error) {
	p := &Process{Name: c.Name, Address: c.Address, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(g.ctx, c.Path, c.Args...) //nolint:gosec // what the caller was given by flags
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stderr = g.stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopWithin
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	g.all = append(g.all, p)
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// Ready waits until each of the processes can be connected to.
func (g *Group) Ready() error {
	for _, p := range g.all {
		if err := p.ready(g.ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends all of them and waits until they have.
func (g *Group) Stop() {
	g.cancel()
	for _, p := range g.all {
		<-p.ended
	}
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

func (p *Process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.Address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return p.Gone()
		case <-ctx.Done():
			return fmt.Errorf("%s isn't listening on %s: %w", p.Name, p.Address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Gone is the error of a server that has ended by itself, nil while it runs.
func (p *Process) Gone() error {
	select {
	case <-p.ended:
	default:
		return nil
	}
	err := p.err
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("%s has ended: %w", p.Name, err)
}

// FreeAddress is one of loopback that nobody listens on.
func FreeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
