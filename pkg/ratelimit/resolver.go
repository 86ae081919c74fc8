package ratelimit

import "context"

// Resolver says what a query is charged with. An implementation is safe for
// concurrent use.
type Resolver interface {
	// Resolve returns the query's own target first, then that of each parent
	// that is charged with it. No target has empty Limits unless its Mode is
	// ModeDisabled or ModeBypass; no targets at all means that no limits apply.
	//
	// An error means that the limits could not be found out (the store that
	// holds them did not answer); the caller answers by its fallback. What is
	// known all the same comes with it: the OnUnavailable to go by, and Targets
	// for FallbackLocal. A context that has ended is answered from what is known.
	Resolve(ctx context.Context, q Query) (Resolution, error)
}

// Query asks for the limits of a bucket.
type Query struct {
	Key Key
	// Tier is the tier to use where the entity has none; empty for none.
	Tier string
	// DefaultLimits apply where no level has limits.
	DefaultLimits []Limit
	// Override, if not nil, wins over every level. Its bucket is its own: the
	// key's variant says so.
	Override *Limit
}

// Resolution is what a query is charged with.
type Resolution struct {
	Targets       []Target
	OnUnavailable Fallback          // FallbackUnset: as the process is configured
	Tier          string            // the tier that was used, empty for none
	Metadata      map[string]string // what is known of the entity; not to be changed
}

// Target is one bucket and the limits that it is charged by. Its Limits are
// shared with other calls and not to be changed.
type Target struct {
	Key    Key
	Limits []Limit
	Level  Level
	// Revision is the largest revision among the items that shaped the limits;
	// 0 for limits from a file or from a rule.
	Revision int64
	Mode     Mode
	// Expires is false for limits at an entity's own levels: their buckets are
	// kept for ever; others may be swept once they are full.
	Expires bool
}

// Level names where limits come from, in the order in which levels are asked.
type Level uint8

// The levels. The first that has limits wins whole.
const (
	LevelNone Level = iota
	LevelOverride
	LevelEntityResource
	LevelEntity // the entity's _default_
	LevelTierResource
	LevelTier
	LevelResource
	LevelSystem
	LevelDefault // default_limits of the rule or of the caller
)

var levelNames = [...]string{"none", "override", "entity+resource", "entity", "tier+resource", "tier", "resource", "system", "default_limits"}

// String is the level's name, as it is shown to people.
func (l Level) String() string { return nameOf(levelNames[:], uint8(l)) }

// Mode says whether a bucket is charged at all.
type Mode uint8

// The modes.
const (
	ModeUnset    Mode = iota // not said at this level; in a Target the same as ModeOn
	ModeOn                   // charged
	ModeDisabled             // every request is denied
	ModeBypass               // every request is admitted, and counted
)

var modeNames = [...]string{"", "on", "disabled", "bypass"}

// String is the mode's name, as it is configured.
func (m Mode) String() string { return nameOf(modeNames[:], uint8(m)) }

// ParseMode reads a mode that somebody says: on, disabled or bypass.
func ParseMode(s string) (Mode, bool) {
	switch s {
	case "on":
		return ModeOn, true
	case "disabled":
		return ModeDisabled, true
	case "bypass":
		return ModeBypass, true
	}
	return ModeUnset, false
}

// Fallback is the answer when the store can't give one in time.
type Fallback uint8

// The fallbacks.
const (
	FallbackUnset Fallback = iota
	FallbackError          // an error: the caller's failure mode decides
	FallbackAllow
	FallbackDeny
	FallbackLocal // a bucket in memory with a share of rate and capacity
)

var fallbackNames = [...]string{"", "error", "allow", "deny", "local"}

// String is the fallback's name, as it is configured.
func (f Fallback) String() string { return nameOf(fallbackNames[:], uint8(f)) }

// ParseFallback reads a configured fallback.
func ParseFallback(s string) (Fallback, bool) {
	for i, n := range fallbackNames {
		if n == s && s != "" {
			return Fallback(i), true
		}
	}
	return FallbackUnset, false
}

func nameOf(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return "unknown"
}
