package server

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/internal/telemetry"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

const (
	// answeredWithin is how recently the store must have answered.
	answeredWithin = 30 * time.Second
	// probeAfter is when a store that nothing is asked of is asked by us.
	probeAfter = 10 * time.Second
	// probeTimeout bounds that question.
	probeTimeout = time.Second
)

// readiness says whether requests should be sent here.
type readiness struct {
	store *telemetry.Store
	key   ratelimit.Key // what the store is asked for: nobody's
	now   func() time.Time
	// serving is set while the gRPC port answers and the service isn't stopping.
	serving atomic.Bool
}

// newReadiness asks the store for a key of a namespace.
func newReadiness(s *telemetry.Store, namespace string) (*readiness, error) {
	key, err := ratelimit.NewKey(namespace, "readyz", "readyz", "probe")
	if err != nil {
		return nil, fmt.Errorf("making the key of the readiness probe: %w", err)
	}
	return &readiness{store: s, key: key, now: time.Now}, nil
}

var errNotServing = errors.New("not serving")

// check is nil when the service is ready. The configuration is loaded by then:
// without one there is no service.
func (r *readiness) check(ctx context.Context) error {
	if !r.serving.Load() {
		return errNotServing
	}
	if r.now().Sub(r.store.Answered()) < probeAfter {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := r.store.Probe(ctx, r.key)
	if err == nil || r.now().Sub(r.store.Answered()) < answeredWithin {
		return nil
	}
	return fmt.Errorf("the store hasn't answered for %s: %w", answeredWithin, err)
}
