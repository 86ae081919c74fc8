package harness

import (
	"os"
	"syscall"
)

// childAttributes puts a child into a group of its own and ties its life to the
// thread that starts it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killGroup kills the group that p leads. That it is gone already is what the
// caller wants.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
