// Command awake runs another command while it keeps every processor from halting:
//
//	awake COMMAND [ARGUMENT ...]
//
// A processor with nothing to do halts. In a virtual machine each halt and each
// wake from it is an exit to the host, which costs more than most of what the
// benches measure, and is booked as the work of whoever wakes it. On bare metal
// one forbids the deep idle states for such measurements; here a thread of the
// lowest class, SCHED_IDLE, spins on each processor, and gives way at once to
// anything else that wants to run.
//
// It ends as the command ends. Linux only.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

func main() {
	err := run(os.Args[1:])
	var ended *exec.ExitError
	if errors.As(err, &ended) { // it has said why
		os.Exit(max(1, ended.ExitCode()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "awake:", err)
		os.Exit(1)
	}
}

func run(command []string) error {
	if len(command) == 0 {
		return errors.New("usage: awake COMMAND [ARGUMENT ...]")
	}
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("reading which processors there are: %w", err)
	}
	runtime.GOMAXPROCS(all.Count() + 1) // a thread for each, and one for the rest
	spinning := make(chan error)
	for cpu := range len(all) * strconv.IntSize { // as many as a set has room for
		if all.IsSet(cpu) {
			go spin(cpu, spinning)
			if err := <-spinning; err != nil {
				return fmt.Errorf("keeping processor %d awake: %w", cpu, err)
			}
		}
	}
	child := exec.Command(command[0], command[1:]...) //nolint:gosec // what the user wants run
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	return child.Run() // a signal from the terminal reaches the child too
}

// lowest is the niceness of the spinning threads: by it meter.Busy tells them from
// neighbours.
const lowest = 19

// spin keeps a processor busy with what gives way to everything, for good.
func spin(cpu int, begun chan<- error) {
	runtime.LockOSThread()
	var only unix.CPUSet
	only.Set(cpu)
	begun <- errors.Join(
		unix.SchedSetaffinity(0, &only),
		unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowest),
		unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE, Nice: lowest}, 0),
	)
	for { //nolint:staticcheck // it is to spin
	}
}
