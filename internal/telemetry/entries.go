package telemetry

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// What a client says becomes the label of a series, which lasts: so their number
// and length are bounded, and all beyond count as one.
const (
	mostOfRule    = 1000   // lists of entries of one rule
	mostOfAll     = 10_000 // of all rules
	mostOfEntries = 256    // bytes of the label

	// otherEntries are no list of entries: each that is counted has an equals sign,
	// or is cut off.
	otherEntries = "other"
	cutEntries   = "..." // ends a label that would be too long
)

// byEntries are the series by entries of the rules in force. It is safe for
// concurrent use.
type byEntries struct {
	metric *prometheus.CounterVec // :: rule, entries, verdict
	room   atomic.Int64           // how many more lists of entries are counted

	mu    sync.Mutex
	rules map[string]*entrySeries // :: entriesKey -> series
}

func newByEntries(metric *prometheus.CounterVec) *byEntries {
	b := &byEntries{metric: metric}
	b.room.Store(mostOfAll)
	return b
}

// entriesKey tells apart what rules are counted by; empty: by themselves alone.
func entriesKey(r *descriptors.Rule) string {
	if a := r.Adopted(); a != nil && a.Counted != nil {
		return fmt.Sprintf("%q %q", r.Name(), a.Counted)
	}
	return ""
}

// use makes room for the series of rules, and ends those of all others.
func (b *byEntries) use(rules []*descriptors.Rule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.rules
	b.rules = map[string]*entrySeries{}
	for _, r := range rules {
		key := entriesKey(r)
		switch {
		case key == "":
		case before[key] != nil:
			b.rules[key] = before[key]
		default:
			b.rules[key] = &entrySeries{of: b, rule: r.Name(), counted: r.Adopted().Counted, known: map[string]*verdictSeries{}}
		}
	}
	for key, s := range before {
		if b.rules[key] == nil {
			s.end()
		}
	}
}

// rule has the series of a rule; nil: it isn't counted by entries, or isn't in
// force any more.
func (b *byEntries) rule(r *descriptors.Rule) *entrySeries {
	key := entriesKey(r)
	if key == "" {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rules[key]
}

// takeRoom reports whether one more list of entries may be counted.
func (b *byEntries) takeRoom() bool {
	if b.room.Add(-1) >= 0 {
		return true
	}
	b.room.Add(1)
	return false
}

// entrySeries are the series of one rule by the entries of descriptors.
type entrySeries struct {
	of      *byEntries
	rule    string
	counted []descriptors.Entry // as of descriptors.Adopted

	mu    sync.RWMutex
	ended bool
	known map[string]*verdictSeries // :: entries -> their series
	other verdictSeries
}

// verdictSeries are the series of one list of entries. A series appears when it
// is first counted.
type verdictSeries [verdicts + 1]prometheus.Counter

// verdictShadow is the verdict about a descriptor whose limit is exceeded and
// never denies.
const verdictShadow = verdicts

// entryVerdicts are the values of the label.
var entryVerdicts = [verdicts + 1]string{
	decision.Allow.String(), decision.Deny.String(), decision.Invalid.String(), decision.Unavailable.String(), "shadow",
}

// verdictOf is the verdict about one request of a call.
func verdictOf(a *decision.Answer, p *decision.Part) int {
	switch {
	case a.Verdict == decision.Unavailable:
		return int(a.Verdict)
	case p.Excused:
		return verdictShadow
	}
	return int(p.Verdict)
}

// count counts a descriptor that the rule took.
func (s *entrySeries) count(own []descriptors.Entry, verdict int) {
	var space [mostOfEntries + 2*utf8.UTFMax]byte
	entries := appendEntries(space[:0], s.counted, own)
	c := s.find(entries, verdict)
	if c == nil {
		c = s.add(string(entries), verdict)
	}
	if c != nil {
		c.Inc()
	}
}

// find is a series that is there, nil when there is none.
func (s *entrySeries) find(entries []byte, verdict int) prometheus.Counter {
	s.mu.RLock()
	defer s.mu.RUnlock()
	known := s.known[string(entries)]
	switch {
	case known != nil:
		return known[verdict]
	case len(s.known) >= mostOfRule || s.of.room.Load() <= 0:
		return s.other[verdict]
	}
	return nil
}

// add makes a series, unless there is one; nil when the rule is gone.
func (s *entrySeries) add(entries string, verdict int) prometheus.Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	known := s.known[entries]
	switch {
	case known != nil:
	case len(s.known) < mostOfRule && s.of.takeRoom():
		known = &verdictSeries{}
		s.known[entries] = known
	default:
		known, entries = &s.other, otherEntries
	}
	if known[verdict] == nil {
		known[verdict] = s.of.metric.WithLabelValues(s.rule, entries, entryVerdicts[verdict])
	}
	return known[verdict]
}

// end ends the series for good: calls that began before may still find them.
func (s *entrySeries) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.of.room.Add(int64(len(s.known)))
	s.known[otherEntries] = &s.other
	for entries, series := range s.known {
		for verdict, c := range series {
			if c != nil {
				s.of.metric.DeleteLabelValues(s.rule, entries, entryVerdicts[verdict])
			}
		}
	}
}

// appendEntries appends the entries of a descriptor as a label has them: as
// key=value, or key alone where the configuration has no more of it, with commas
// between, and as long as a label may be.
func appendEntries(to []byte, counted, own []descriptors.Entry) []byte {
	for i, e := range counted {
		if i > 0 {
			to = append(to, ',')
		}
		written := e.Key != ""
		if !written && i < len(own) {
			e = own[i]
		}
		to = appendEscaped(to, e.Key, ',', '=')
		if !written || e.Value != "" {
			to = append(to, '=')
			to = appendEscaped(to, e.Value, ',', ',')
		}
		if len(to) > mostOfEntries {
			return append(to[:cutAt(to)], cutEntries...)
		}
	}
	return to
}

// appendEscaped appends a text, and some bytes beyond what a label may have of
// one that is longer. What would end it, what controls a terminal and what isn't
// UTF-8 is written as in a URL, so that no two texts become one.
func appendEscaped(to []byte, s string, ends, also rune) []byte {
	const digits = "0123456789ABCDEF"
	for len(s) > 0 && len(to) <= mostOfEntries {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1, r < ' ', r == 0x7f, r == '%', r == ends, r == also:
			to = append(to, '%', digits[s[0]>>4], digits[s[0]&15])
		default:
			to = append(to, s[:size]...)
		}
		s = s[size:]
	}
	return to
}

// cutAt is where a label is cut so that it ends in no part of a character, nor of
// what stands for a byte.
func cutAt(entries []byte) int {
	cut := mostOfEntries - len(cutEntries)
	for !utf8.RuneStart(entries[cut]) {
		cut--
	}
	for back := 1; back <= 2; back++ {
		if entries[cut-back] == '%' {
			return cut - back
		}
	}
	return cut
}
