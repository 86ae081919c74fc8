package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// LogFormats and LogLevels are the names that NewLog and ParseLevel know.
const (
	LogFormats = "text, json"
	LogLevels  = "debug, info, warn, error"
)

// NewLog makes a log that writes one line for each record, as text or as JSON.
// The level can be changed at any time.
func NewLog(w io.Writer, format string, level *slog.LevelVar) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format %q is not one of %s", format, LogFormats)
}

// ParseLevel reads a level's name; empty is info.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q is not one of %s", s, LogLevels)
}

// gate lets one through each interval, and counts those that it holds back: for
// what can go wrong in every request at once.
type gate struct {
	every time.Duration
	next  atomic.Int64 // Unix nanoseconds
	held  atomic.Int64
}

// pass reports whether one may pass, and how many were held back before it.
func (g *gate) pass(now time.Time) (held int64, ok bool) {
	next := g.next.Load()
	if now.UnixNano() < next || !g.next.CompareAndSwap(next, now.Add(g.every).UnixNano()) {
		g.held.Add(1)
		return 0, false
	}
	return g.held.Swap(0), true
}
