package ratelimit

// Refresher is a Resolver that can learn from a bucket that its knowledge is
// old: the bucket was shaped by a revision later than that of the target it was
// resolved to.
type Refresher interface {
	// Stale tells the revision that a bucket has shown. It never blocks: what is
	// newer shapes the bucket's next charges, not the one that showed it.
	Stale(k Key, revision int64)
}

// tellStale tells a resolver of buckets that know more than it did.
func (b *batch) tellStale(r Resolver) {
	for i := range b.works {
		w := &b.works[i]
		if !w.state.Exists || w.state.Revision <= w.target.Revision {
			continue
		}
		if f, ok := r.(Refresher); ok {
			f.Stale(w.target.Key, w.state.Revision)
		}
	}
}
