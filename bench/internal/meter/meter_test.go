package meter

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// spin keeps one thread busy for so much CPU time of this process.
func spin(t *testing.T, d time.Duration) {
	t.Helper()
	for end := self(t) + d; self(t) < end; {
	}
}

func self(t *testing.T) time.Duration {
	t.Helper()
	d, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCPUIsThatOfTheSystem(t *testing.T) {
	usage := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			t.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before, used := self(t), usage()
	spin(t, 100*time.Millisecond)
	got, want := self(t)-before, usage()-used
	if got < 100*time.Millisecond || got-want > 20*time.Millisecond || want-got > 20*time.Millisecond {
		t.Errorf("the clock says %v, getrusage %v", got, want)
	}
}

func TestCPUOfNoProcess(t *testing.T) {
	if d, err := CPU(1 << 22); err == nil { // above the highest id there can be
		t.Errorf("%v, want an error", d)
	}
}

func TestBusyIsAtLeastThisProcess(t *testing.T) {
	before, err := Busy()
	if err != nil {
		t.Fatal(err)
	}
	spin(t, 200*time.Millisecond)
	after, err := Busy()
	if err != nil {
		t.Fatal(err)
	}
	if after-before < 150*time.Millisecond {
		t.Errorf("the machine was busy for %v, this process for 200ms", after-before)
	}
}

func TestBusyReadsTheFirstLine(t *testing.T) {
	got, err := busy("cpu  10 1 5 1000 200 2 3 4 50 0")
	if want := 24 * tick; err != nil || got != want {
		t.Errorf("%v %v, want %v: neither niced, idle, waiting nor guest, which is in user", got, err, want)
	}
	for _, line := range []string{"", "cpu 1 2", "intr 1 2 3 4 5 6 7 8", "cpu a 1 1 1 1 1 1 1 1"} {
		if _, err := busy(line); err == nil {
			t.Errorf("%q is taken", line)
		}
	}
}

func TestInstructionsOfAnotherThread(t *testing.T) {
	c, err := CountInstructions(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	defer c.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		spin(t, 50*time.Millisecond)
	}()
	<-done
	if n, err := c.Read(); err != nil || n < 1_000_000 {
		t.Errorf("%d instructions, %v", n, err)
	}
}
