//go:build unix

package server

import (
	"syscall"
	"time"
)

// cpuTime is the CPU time of the process so far.
func cpuTime() (used time.Duration, ok bool) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, false
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), true
}
