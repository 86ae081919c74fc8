package ratelimit

// Stats are what a Limiter with a Remote holds in memory at one moment; all 0
// without one.
type Stats struct {
	Actors   int   // buckets that have something to do, or wait for their pace
	InFlight int   // requests to the store that have not come back
	Entries  int   // of the rejection cache
	Bytes    int64 // of the rejection cache, about
}

// Stats reads them. It takes every lock for a moment: meant for a scrape, not
// for each request.
func (l *Limiter) Stats() Stats {
	r, ok := l.engine.(*remote)
	if !ok {
		return Stats{}
	}
	entries, bytes := r.seen.size()
	return Stats{Actors: r.len(), InFlight: int(r.world.out.Load()), Entries: entries, Bytes: bytes}
}

// size is how many entries there are, and about how many bytes they take.
func (s *seen) size() (entries int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Len(), s.bytes
}
