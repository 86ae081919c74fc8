package meter

import (
	"context"
	"runtime"
	"time"
)

// quiet is the share of the machine that neighbours may use before a run.
const quiet = 0.1

// Quiet waits until the machine is idle, for so long at most: before a run all
// that is busy is a neighbour.
func Quiet(ctx context.Context, patience time.Duration) {
	const window = 100 * time.Millisecond
	tick := time.NewTicker(window)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		before, err1 := Busy()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		after, err2 := Busy()
		most := quiet * float64(window) * float64(runtime.NumCPU())
		if err1 != nil || err2 != nil || float64(after-before) <= most {
			return
		}
	}
}
