package hierarchy

import (
	"cmp"
	"fmt"
	"time"
)

// Kind says what an item of the configuration in a store is about.
type Kind uint8

// The kinds of items. KindNamespace stands for the namespace itself, and is
// seen in audit events alone.
const (
	KindNamespace      Kind = iota
	KindSystem              // the system's level
	KindResource            // a resource's level
	KindTier                // a tier's level
	KindTierResource        // a tier's level for one resource
	KindEntity              // an entity's profile: tier, parent, metadata
	KindEntityDefault       // an entity's own level, for every resource
	KindEntityResource      // an entity's level for one resource
)

var kindNames = [...]string{"namespace", "system", "resource", "tier", "tier+resource", "entity", "entity default", "entity+resource"}

// String is the kind's name, as it is stored and shown.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// ParseKind reads a kind's name.
func ParseKind(s string) (Kind, bool) {
	for i, n := range kindNames {
		if n == s {
			return Kind(i), true
		}
	}
	return 0, false
}

// OfEntity reports whether items of the kind belong to an entity.
func (k Kind) OfEntity() bool { return k >= KindEntity && k <= KindEntityResource }

// OfTier reports whether items of the kind belong to a tier.
func (k Kind) OfTier() bool { return k == KindTier || k == KindTierResource }

// OfResource reports whether items of the kind are about one resource.
func (k Kind) OfResource() bool {
	return k == KindResource || k == KindTierResource || k == KindEntityResource
}

// MaxName is the longest name of an entity, a tier or a resource that a store
// can say something about, in bytes: as much as a bucket's key keeps whole.
const MaxName = 256

// Ref names one item in a namespace by raw values, which may hold any bytes.
// Refs are comparable.
type Ref struct {
	Kind     Kind
	Name     string // of the entity or the tier; empty for other kinds
	Resource string // where the kind is about one resource; else empty
}

// Compare orders refs by kind, then by name, then by resource.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Kind, o.Kind), cmp.Compare(r.Name, o.Name), cmp.Compare(r.Resource, o.Resource))
}

// SystemRef names the system's item.
func SystemRef() Ref { return Ref{Kind: KindSystem} }

// ResourceRef names a resource's item.
func ResourceRef(resource string) Ref { return Ref{Kind: KindResource, Resource: resource} }

// TierRef names a tier's item: for one resource, or, where that is empty, for
// every one.
func TierRef(tier, resource string) Ref {
	if resource == "" {
		return Ref{Kind: KindTier, Name: tier}
	}
	return Ref{Kind: KindTierResource, Name: tier, Resource: resource}
}

// ProfileRef names an entity's profile.
func ProfileRef(entity string) Ref { return Ref{Kind: KindEntity, Name: entity} }

// EntityRef names an entity's level: for one resource, or, where that is empty,
// for every one.
func EntityRef(entity, resource string) Ref {
	if resource == "" {
		return Ref{Kind: KindEntityDefault, Name: entity}
	}
	return Ref{Kind: KindEntityResource, Name: entity, Resource: resource}
}

// String shows the item to people; names are quoted, so that none can pass for
// another.
func (r Ref) String() string {
	switch {
	case r.Name != "" && r.Resource != "":
		return fmt.Sprintf("%s %q %q", r.Kind, r.Name, r.Resource)
	case r.Name != "":
		return fmt.Sprintf("%s %q", r.Kind, r.Name)
	case r.Resource != "":
		return fmt.Sprintf("%s %q", r.Kind, r.Resource)
	}
	return r.Kind.String()
}

// Item is one piece of the configuration in a store, as its last change left
// it. Its slices and maps are shared and not to be changed.
type Item struct {
	Ref Ref
	// Revision is the namespace's at the item's last change, deletions
	// included; 0 for one that was never written.
	Revision int64
	// Deleted marks a tombstone: it says nothing, and keeps its revision so
	// that a bucket shaped by what was deleted is shaped anew.
	Deleted   bool
	UpdatedAt time.Time // of the last change, to the millisecond, by the changer's clock
	Manager   string    // of the manifest that manages the item; empty: none does
	Level     Level     // what the item says as a level; nothing for KindEntity
	Profile   Profile   // of KindEntity alone
}

// Exists reports whether the item says something.
func (i *Item) Exists() bool { return i.Revision > 0 && !i.Deleted }

// Profile is what is said about an entity beside its limits.
type Profile struct {
	DisplayName string
	Tier        string // empty: none
	Parent      string // empty: none
	Cascade     bool   // charge the parent too
	Metadata    map[string]string
}
