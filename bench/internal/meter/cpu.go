// Package meter reads what a process costs the machine: CPU time always, and
// instructions where the machine counts them. Linux only; it imports the
// standard library and golang.org/x/sys. Start at CPU.
package meter

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the time that a process has run, in user and kernel mode, over all of
// its threads, those that have ended too.
func CPU(pid int) (time.Duration, error) {
	// The clock of another process, as clock_getcpuclockid makes it: finer than
	// the ticks of /proc.
	const scheduled = 2
	clock := ^int32(pid)<<3 | scheduled //nolint:gosec // a process id is below 2^22
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// tick is the unit of /proc/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = time.Second / 100

// Busy is the CPU time that the machine has spent on anything, what other
// machines have taken of it included; not on processes that are niced, as those
// that keep it awake (cmd/awake), which give way to what is measured.
func Busy() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	return busy(line)
}

// busy reads the first line of /proc/stat: "cpu user nice system idle iowait irq
// softirq steal ...".
func busy(line string) (time.Duration, error) {
	const nice, idle, iowait, last = 1, 3, 4, 8
	fields := strings.Fields(line)
	if len(fields) <= last || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var sum time.Duration
	for i, field := range fields[1 : last+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat begins with %q: %w", line, err)
		}
		if i != nice && i != idle && i != iowait {
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}
