package hierarchy

import "time"

// CacheStats say what a [Cache] has done so far, and how current it is.
type CacheStats struct {
	Hits, Misses    int64         // resolutions that were remembered, and that were not
	Polls, Failures int64         // readings of a namespace's changes, and those that failed
	Namespaces      int           // in use
	Age             time.Duration // how long changes of one of them may have gone unnoticed, at most
}

// Stats reads them.
func (c *Cache) Stats() CacheStats {
	s := CacheStats{Hits: c.hits.Load(), Misses: c.misses.Load(), Polls: c.polls.Load(), Failures: c.failures.Load()}
	c.mu.RLock()
	defer c.mu.RUnlock()
	s.Namespaces = len(c.spaces)
	for _, sp := range c.spaces {
		s.Age = max(s.Age, sp.age())
	}
	return s
}

// age is how long changes may have gone unnoticed.
func (sp *space) age() time.Duration {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if !sp.begun {
		return 0
	}
	return time.Since(sp.asOf)
}
