//go:build !linux

package harness

import (
	"os"
	"syscall"
)

// childAttributes leaves a child as it is: a group and a parent-death signal are
// the kernel's gift on Linux.
func childAttributes() *syscall.SysProcAttr { return nil }

// killGroup kills p. That it is gone already is what the caller wants.
func killGroup(p *os.Process) { _ = p.Kill() }
