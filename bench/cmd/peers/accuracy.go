package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/extauthz/extauthz/bench/internal/load"
)

// Limits of the configurations, and what is asked of them.
const (
	onceLimit = 1000 // requests a day
	crowd     = 20_000
	edgeLimit = 600 // requests a minute
	edgeTime  = 10 * time.Second
)

// admissions are how many requests a subject let pass.
type admissions struct {
	once uint64 // of a crowd that came at once
	edge uint64 // in edgeTime, half before and half after the edge of a minute
}

// accuracy asks all subjects at once, which takes two minutes at most: nothing
// of it is timed.
func accuracy(ctx context.Context, subjects []*subject) (map[string]admissions, error) {
	all := map[string]admissions{}
	var (
		mu      sync.Mutex
		first   error
		running sync.WaitGroup
	)
	// The first request, which opens the window of who has windows of his own, is
	// made with the minute; the crowd comes around the end of that minute.
	minute := time.Now().Truncate(time.Minute).Add(time.Minute)
	for _, s := range subjects {
		if !s.exact {
			continue
		}
		running.Go(func() {
			a, err := accuracyOf(ctx, s, minute)
			mu.Lock()
			defer mu.Unlock()
			all[s.name] = a
			if err != nil && first == nil {
				first = fmt.Errorf("%s: %w", s.name, err)
			}
		})
	}
	running.Wait()
	return all, first
}

func accuracyOf(ctx context.Context, s *subject, minute time.Time) (a admissions, err error) {
	o := load.Options{Address: s.allows.Address, PIDs: s.pids(s.allows), Conns: 64, InFlight: 256}
	one, err := load.RateLimit.Requests("once", 1)
	if err != nil {
		return a, err
	}
	for range crowd {
		o.Requests = append(o.Requests, one[0])
	}
	r, err := load.Crowd(ctx, o)
	if err != nil {
		return a, err
	}
	a.once = r.Allowed

	if o.Requests, err = load.RateLimit.Requests("edge", 1); err != nil {
		return a, err
	}
	if err := until(ctx, minute.Add(100*time.Millisecond)); err != nil {
		return a, err
	}
	if _, err := load.Crowd(ctx, o); err != nil {
		return a, err
	}
	if err := until(ctx, minute.Add(time.Minute-edgeTime/2)); err != nil {
		return a, err
	}
	o.Conns, o.InFlight, o.Duration = 4, 16, edgeTime
	r, err = load.Run(ctx, o)
	a.edge = r.Allowed + 1 // of the one that Run asks before it measures
	return a, err
}

func until(ctx context.Context, t time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(t)):
		return nil
	}
}
