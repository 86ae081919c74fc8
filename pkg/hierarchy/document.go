package hierarchy

import "github.com/extauthz/extauthz/pkg/ratelimit"

// Document is a whole set of limits, as the `limits:` section of a
// configuration file or a manifest states it. Names are raw values: they may
// hold any bytes. A Document is never changed once it is handed over.
type Document struct {
	System    Level            // limits of whoever has none of their own
	Resources map[string]Level // :: resource -> its limits
	Tiers     map[string]Tier  // :: tier -> its limits
	Entities  map[string]Entity
}

// Level is what is said at one level. The zero value says nothing.
type Level struct {
	Limits []ratelimit.Limit // none: this level has no limits
	Mode   ratelimit.Mode    // ModeUnset: inherited from the next level that says one
	// OnUnavailable is said at the system and at resource level alone.
	OnUnavailable ratelimit.Fallback
}

// Tier is a named set of limits: its own, and those for single resources.
type Tier struct {
	Level
	Resources map[string]Level // :: resource -> limits of this tier for it
}

// Entity is what is said about one entity: its own limits (its `_default_`,
// for every resource), those for single resources, its tier, and its parent.
type Entity struct {
	Level
	Resources   map[string]Level // :: resource -> limits of this entity for it
	DisplayName string           // for people
	Tier        string           // empty: none
	Parent      string           // empty: none
	Cascade     bool             // charge the parent too
	Metadata    map[string]string
}
