package hierarchy

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// space is what is known of one incarnation of a namespace: all of its cached
// items are as they were at its mark.
type space struct {
	name string
	used atomic.Bool // since the last poll
	gone atomic.Bool // nothing of it holds any more
	idle int         // polls since it was used; the poller's alone

	reading sync.Mutex // held while changes are read, so that each is read once

	mu     sync.Mutex
	begun  bool
	mark   Mark
	recent []Change  // the last ones up to the mark, without a gap
	asOf   time.Time // all that was changed before is known
	wanted int64     // the largest revision that a bucket has shown
	asked  time.Time
}

// maxRecent is how many changes are remembered, for resolutions that are under
// way while they are made.
const maxRecent = 256

func (sp *space) position() (m Mark, begun bool) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.mark, sp.begun
}

func (sp *space) begin(m Mark) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.mark, sp.begun, sp.asOf = m, true, time.Now()
}

// advance goes on to the last of the changes; mu is held.
func (sp *space) advance(changes []Change) {
	if len(changes) == 0 {
		return
	}
	sp.mark.Revision = changes[len(changes)-1].Revision
	sp.recent = append(sp.recent, changes...)
	if n := len(sp.recent) - maxRecent; n > 0 {
		sp.recent = slices.Delete(sp.recent, 0, n)
	}
}

// touched reports whether one of the items may have been changed between a
// revision and the mark; mu is held.
func (sp *space) touched(since int64, uses map[Ref]*entry) bool {
	if sp.mark.Revision == since {
		return false
	}
	if len(sp.recent) == 0 || sp.recent[0].Revision > since+1 {
		return true // it isn't known any more
	}
	for i := range sp.recent {
		if sp.recent[i].Revision <= since {
			continue
		}
		for _, ref := range sp.recent[i].Refs {
			if _, ok := uses[ref]; ok {
				return true
			}
		}
	}
	return false
}

// want notes that a bucket has shown a revision, and reports whether that is a
// reason to read changes now.
func (sp *space) want(revision int64) bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if !sp.begun || revision <= sp.mark.Revision {
		return false
	}
	now := time.Now()
	if now.Sub(sp.asked) < minPause {
		return false
	}
	sp.wanted, sp.asked = revision, now
	return true
}

// isWanted reports whether a bucket has shown a later revision than the mark
// since this was asked last.
func (sp *space) isWanted() bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	wanted := sp.wanted > sp.mark.Revision
	sp.wanted = 0
	return wanted
}
