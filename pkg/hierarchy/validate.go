package hierarchy

import (
	"fmt"
	"unicode/utf8"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The bounds of what an item holds.
const (
	MaxLimits      = 20   // limits at one level; above 4 with long names, charges cost more
	MaxMetadata    = 64   // entries
	maxMetadataAll = 8192 // bytes of all keys and values
	maxText        = 256  // bytes of a display name, a manager, an actor
	maxAction      = 64   // bytes
)

// Check reports whether a Ref can name an item. The error is an
// [*InvalidItemError].
func (r Ref) Check() error {
	if faults := r.faults(); len(faults) > 0 {
		return &InvalidItemError{Ref: r, Faults: faults}
	}
	return nil
}

func (r Ref) faults() []string {
	if r.Kind == KindNamespace || r.Kind > KindEntityResource {
		return []string{fmt.Sprintf("kind %d is not one of an item", r.Kind)}
	}
	var faults []string
	who := "entity"
	if r.Kind.OfTier() {
		who = "tier"
	}
	if r.Kind.OfTier() || r.Kind.OfEntity() {
		faults = append(faults, nameFaults(who, r.Name)...)
	} else if r.Name != "" {
		faults = append(faults, "it has a name")
	}
	if !r.Kind.OfResource() {
		if r.Resource != "" {
			faults = append(faults, "it names a resource")
		}
		return faults
	}
	faults = append(faults, nameFaults("resource", r.Resource)...)
	if r.Resource == ratelimit.ReservedResource {
		faults = append(faults, fmt.Sprintf("the resource %s is a reserved name: leave the resource out", r.Resource))
	}
	return faults
}

func nameFaults(what, name string) []string {
	switch {
	case name == "":
		return []string{"the " + what + " is empty"}
	case len(name) > MaxName:
		return []string{fmt.Sprintf("the %s's name has %d bytes, more than %d: give it a shorter one, such as a hash", what, len(name), MaxName)}
	}
	return nil
}

// Check reports whether the item can be written. The error is an
// [*InvalidItemError] that names each fault. Whether parents go round in a
// circle takes reads: see [Prepare].
func (i *Item) Check() error {
	faults := i.Ref.faults()
	faults = append(faults, textFaults("manager", i.Manager, maxText)...)
	switch {
	case i.Deleted:
		if !i.Level.Empty() || !i.Profile.isZero() {
			faults = append(faults, "it is to be deleted, and says something")
		}
	case i.Ref.Kind == KindEntity:
		if !i.Level.Empty() {
			faults = append(faults, "a profile has no limits: they are said at the entity's levels")
		}
		faults = append(faults, i.Profile.faults(i.Ref.Name)...)
	default:
		if !i.Profile.isZero() {
			faults = append(faults, "it is no profile of an entity, and holds one")
		}
		faults = append(faults, i.Level.faults(i.Ref.Kind)...)
	}
	if len(faults) > 0 {
		return &InvalidItemError{Ref: i.Ref, Faults: faults}
	}
	return nil
}

// Empty reports whether the level says nothing.
func (l *Level) Empty() bool {
	return len(l.Limits) == 0 && l.Mode == ratelimit.ModeUnset && l.OnUnavailable == ratelimit.FallbackUnset
}

func (l *Level) faults(k Kind) []string {
	var faults []string
	if len(l.Limits) > MaxLimits {
		faults = append(faults, fmt.Sprintf("%d limits are more than %d", len(l.Limits), MaxLimits))
	}
	seen := make(map[string]bool, len(l.Limits))
	for _, limit := range l.Limits {
		if err := limit.Validate(); err != nil {
			faults = append(faults, err.Error())
		}
		if seen[limit.Name] {
			faults = append(faults, fmt.Sprintf("limit %q is there twice", limit.Name))
		}
		seen[limit.Name] = true
	}
	if l.Mode > ratelimit.ModeBypass {
		faults = append(faults, "the mode is none of on, disabled, bypass")
	}
	switch {
	case l.OnUnavailable > ratelimit.FallbackLocal:
		faults = append(faults, "on_unavailable is none of error, allow, deny, local")
	case l.OnUnavailable != ratelimit.FallbackUnset && k != KindSystem && k != KindResource:
		faults = append(faults, "on_unavailable can be said of the system and of a resource alone")
	}
	return faults
}

func (p *Profile) isZero() bool {
	return p.DisplayName == "" && p.Tier == "" && p.Parent == "" && !p.Cascade && len(p.Metadata) == 0
}

func (p *Profile) faults(entity string) []string {
	faults := textFaults("display name", p.DisplayName, maxText)
	if p.Tier != "" {
		faults = append(faults, nameFaults("tier", p.Tier)...)
	}
	if p.Parent != "" {
		faults = append(faults, nameFaults("parent", p.Parent)...)
	}
	if p.Parent == entity {
		faults = append(faults, "it is its own parent")
	}
	if len(p.Metadata) > MaxMetadata {
		faults = append(faults, fmt.Sprintf("%d entries of metadata are more than %d", len(p.Metadata), MaxMetadata))
	}
	all := 0
	for k, v := range p.Metadata {
		all += len(k) + len(v)
		if k == "" || !utf8.ValidString(k) || !utf8.ValidString(v) {
			faults = append(faults, fmt.Sprintf("metadata %q is not text with a name", k))
		}
	}
	if all > maxMetadataAll {
		faults = append(faults, fmt.Sprintf("metadata of %d bytes is more than %d", all, maxMetadataAll))
	}
	return faults
}

func textFaults(what, s string, most int) []string {
	switch {
	case len(s) > most:
		return []string{fmt.Sprintf("the %s is longer than %d bytes", what, most)}
	case !utf8.ValidString(s):
		return []string{fmt.Sprintf("the %s %q is not UTF-8", what, s)}
	}
	return nil
}

// Check reports whether a store can make the edit, as far as can be told
// without reading: an [*InvalidEditError] about the whole, or an
// [*InvalidItemError] about the first item that is wrong.
func (e *Edit) Check() error {
	if err := e.Cause.Check(); err != nil {
		return err
	}
	switch faults := textFaults("action", e.Action, maxAction); {
	case e.Action == "":
		return &InvalidEditError{Reason: "names no action"}
	case len(faults) > 0:
		return &InvalidEditError{Reason: "is wrong: " + faults[0]}
	case len(e.Puts) == 0:
		return &InvalidEditError{Reason: "changes nothing"}
	case len(e.Puts) > MaxPuts:
		return &InvalidEditError{Reason: fmt.Sprintf("changes %d items, more than %d: make several of it", len(e.Puts), MaxPuts)}
	case len(e.Reads) > MaxReads:
		return &InvalidEditError{Reason: fmt.Sprintf("relies on %d items, more than %d", len(e.Reads), MaxReads)}
	}
	named := make(map[Ref]bool, len(e.Puts)+len(e.Reads))
	once := func(r Ref) error {
		if named[r] {
			return &InvalidEditError{Reason: fmt.Sprintf("names %s twice", r)}
		}
		named[r] = true
		return nil
	}
	for i := range e.Puts {
		p := &e.Puts[i]
		if err := p.Item.Check(); err != nil {
			return err
		}
		if err := once(p.Item.Ref); err != nil {
			return err
		}
	}
	for _, r := range e.Reads {
		if err := r.Ref.Check(); err != nil {
			return err
		}
		if err := once(r.Ref); err != nil {
			return err
		}
	}
	return nil
}

// Check reports whether an actor can be recorded, as far as it is known. The
// error is an [*InvalidEditError].
func (a Actor) Check() error {
	faults := append(textFaults("caller", a.Caller, maxText), textFaults("name to act for", a.As, maxText)...)
	if len(faults) > 0 {
		return &InvalidEditError{Reason: "is wrong: " + faults[0]}
	}
	return nil
}

// Check reports whether it is said who changes something, and when. The error
// is an [*InvalidEditError].
func (c Cause) Check() error {
	if err := c.By.Check(); err != nil {
		return err
	}
	switch {
	case c.By.Caller == "":
		return &InvalidEditError{Reason: "doesn't say who makes it"}
	case c.At.UnixMilli() <= 0:
		return &InvalidEditError{Reason: "doesn't say when it is made"}
	}
	return nil
}
