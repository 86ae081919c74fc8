// Package process starts the servers that are measured, and ends them together.
// They are processes of integration/harness with an address; beside that it
// imports the standard library alone. Start at Group.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/extauthz/extauthz/integration/harness"
)

const (
	startWithin = 10 * time.Second
	stopWithin  = 15 * time.Second // then it is killed
)

// Group is processes that end together.
type Group struct {
	ports harness.Ports
	echo  io.Writer
	all   []*Process
}

// NewGroup makes an empty group, whose processes' output is passed on to echo.
func NewGroup(echo io.Writer) *Group { return &Group{echo: echo} }

// Process is a server that was started.
type Process struct {
	*harness.Process
	Name, Address string
}

// Free is a port of loopback that nobody listens on.
func (g *Group) Free() (int, error) { return g.ports.Free() }

// Start starts a server that will listen on a port of loopback. It doesn't wait
// until that is ready.
func (g *Group) Start(port int, c harness.Command) (*Process, error) {
	c.Echo = g.echo
	child, err := harness.Start(c)
	if err != nil {
		return nil, err
	}
	p := &Process{Process: child, Name: c.Name, Address: Address(port)}
	g.all = append(g.all, p)
	return p, nil
}

// Address is a port's on loopback.
func Address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Ready waits until each of the processes can be connected to.
func (g *Group) Ready(ctx context.Context) error {
	for _, p := range g.all {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends all of them and waits until they have. How they end is no matter any
// more.
func (g *Group) Stop() {
	for _, p := range g.all {
		_ = p.Stop(stopWithin)
	}
}

func (p *Process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.Address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.Done():
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
	case <-p.Done():
	default:
		return nil
	}
	err := p.Err()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("%s has ended: %w", p.Name, err)
}
