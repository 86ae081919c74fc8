package meter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Instructions counts the instructions that a process retires, in user and
// kernel mode, over all its threads and those that they start. Unlike CPU time
// they don't move with the clock rate, the caches or the neighbours. In a
// virtual machine counting them slows the process.
type Instructions struct {
	counters []int
	clock    int // the process whose CPU time is the count; 0: counters are
	before   time.Duration
}

// Emulated reports whether this is the machine that machine.sh emulates. Its one
// processor takes a nanosecond for each instruction, and all its clocks go by that:
// CPU time is a count of instructions.
func Emulated() bool {
	line, err := os.ReadFile("/proc/cmdline")
	return err == nil && slices.Contains(strings.Fields(string(line)), "bench.clock=instructions")
}

// CountInstructions starts to count. It fails where the machine has no counters,
// as most virtual machines, or its settings forbid them.
func CountInstructions(pid int) (*Instructions, error) {
	if Emulated() {
		before, err := CPU(pid)
		return &Instructions{clock: pid, before: before}, err
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_HARDWARE, Config: unix.PERF_COUNT_HW_INSTRUCTIONS, Bits: unix.PerfBitInherit,
	}
	attr.Size = uint32(unsafe.Sizeof(attr))
	c := new(Instructions)
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ESRCH) { // the thread has ended
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("counting instructions: %w", err), c.Close())
		}
		c.counters = append(c.counters, fd)
	}
	return c, nil
}

// Read is the count so far.
func (c *Instructions) Read() (uint64, error) {
	if c.clock != 0 {
		now, err := CPU(c.clock)
		return uint64(now - c.before), err //nolint:gosec // never negative
	}
	var sum uint64
	var b [8]byte
	for _, fd := range c.counters {
		if _, err := unix.Read(fd, b[:]); err != nil {
			return 0, fmt.Errorf("reading the count of instructions: %w", err)
		}
		sum += binary.NativeEndian.Uint64(b[:])
	}
	return sum, nil
}

// Close ends the count.
func (c *Instructions) Close() error {
	var errs []error
	for _, fd := range c.counters {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
