package load

import (
	"context"
	"fmt"
)

// Crowd asks each request once, all of them as fast as InFlight allows, and
// counts the answers. It measures nothing else, and doesn't warm up.
func Crowd(ctx context.Context, o Options) (Result, error) {
	g, closeAll, err := connect(&o)
	if err != nil {
		return Result{}, err
	}
	defer closeAll()
	t := g.run(ctx, g.once())
	if t.failed > 0 {
		return Result{}, fmt.Errorf("asking %s: %w", o.Address, t.err)
	}
	return Result{Requests: t.times.Count(), Allowed: t.allowed, Rejected: t.rejected}, ctx.Err()
}
