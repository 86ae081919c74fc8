//go:build !unix

package server

import "time"

// cpuTime can't be read here.
func cpuTime() (used time.Duration, ok bool) { return 0, false }
