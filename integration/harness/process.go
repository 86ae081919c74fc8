package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxOutput is how much of a child's output is kept, in bytes: the newest.
const maxOutput = 4 << 20

// Command says what to start.
type Command struct {
	Name string   // what messages call it
	Path string   // the binary
	Args []string // without the binary's name
	Env  []string // added to this process's own
	Echo io.Writer
}

// Process is a running child. It leads a process group of its own, so that a
// Ctrl-C in the terminal reaches its parent alone, and dies with its parent,
// however that dies (Linux; elsewhere when the parent ends in order).
//
// Its methods may be called from several goroutines.
type Process struct {
	name   string
	cmd    *exec.Cmd
	output *output
	done   chan struct{}
	err    error // how it ended; read after done
}

// Start starts a child. The caller stops it with Stop.
func Start(c Command) (*Process, error) {
	p := &Process{
		name:   c.Name,
		cmd:    exec.Command(c.Path, c.Args...), //nolint:gosec // it runs what the caller names: that's its purpose
		output: &output{echo: c.Echo},
		done:   make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = childAttributes()
	// A grandchild that keeps the pipe open must not keep Wait from returning.
	p.cmd.WaitDelay = time.Second

	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	return p, nil
}

// run starts the child and waits for it on one locked thread: the kernel sends
// the parent-death signal when the thread that started a child ends, so that
// thread has to live as long as the child.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	p.err = p.cmd.Wait()
	close(p.done)
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the child ended: nil for exit status 0. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the child alone.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signalling %s: %w", p.name, err)
	}
	return nil
}

// Stop asks the child to end (SIGTERM), gives it grace, then kills its group.
// It returns how the child ended; one that had ended before is no error of Stop.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
	}
	killGroup(p.cmd.Process)
	<-p.done
	return fmt.Errorf("%s didn't end within %v of SIGTERM, killed", p.name, grace)
}

// Kill ends the child's whole group at once and waits for it.
func (p *Process) Kill() {
	killGroup(p.cmd.Process)
	<-p.done
}

// Output is what the child has written so far, stdout and stderr as they came.
func (p *Process) Output() string { return p.output.String() }

// Tail is the last n lines of Output.
func (p *Process) Tail(n int) string {
	lines := strings.SplitAfter(strings.TrimRight(p.Output(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// output keeps the newest of what is written to it.
type output struct {
	echo io.Writer

	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps b, and passes it on.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if over := o.buf.Len() + len(b) - maxOutput; over > 0 {
		o.buf.Next(over)
	}
	o.buf.Write(b)
	if o.echo != nil {
		// The echo is for people; that nobody reads it is no reason to fail.
		_, _ = o.echo.Write(b)
	}
	return len(b), nil
}

// String is what is kept.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
