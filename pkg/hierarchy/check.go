package hierarchy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	edlib "github.com/hbollon/go-edlib"
)

// Warning is something in a document that is surely not meant.
type Warning struct {
	// Keys lead to what the warning is about, from the document's root:
	// {"entities", "alice", "parent"}.
	Keys    []string
	Message string
	// Fatal is set where the document must not be used: it is an error.
	Fatal bool
}

// Path is Keys with dots between.
func (w Warning) Path() string { return strings.Join(w.Keys, ".") }

// String is the path and the message.
func (w Warning) String() string { return w.Path() + ": " + w.Message }

// Check looks for what is surely not meant, in the order of paths. Unknown
// tiers and parents, and a cascade without a parent, are warnings; parents that
// go round in a circle, and cascades to more than [MaxParents], are fatal.
func (d Document) Check() []Warning {
	var all []Warning
	circular := d.circular()
	for name, e := range d.Entities {
		warn := func(key string, fatal bool, format string, args ...any) {
			all = append(all, Warning{Keys: []string{"entities", name, key}, Fatal: fatal, Message: fmt.Sprintf(format, args...)})
		}
		if _, known := d.Tiers[e.Tier]; e.Tier != "" && !known {
			warn("tier", false, "there is no tier %q%s", e.Tier, nearest(e.Tier, d.Tiers))
		}
		_, known := d.Entities[e.Parent]
		switch {
		case e.Parent == "" && e.Cascade:
			warn("cascade", false, "there is no parent to charge")
		case e.Parent != "" && !known:
			warn("parent", false, "there is no entity %q%s", e.Parent, nearest(e.Parent, d.Entities))
		case circular[name]:
			warn("parent", true, "parents go round in a circle: %s", d.circle(name))
		case d.cascadesTooFar(name, circular):
			warn("parent", true, "a charge would cascade to more than %d parents", MaxParents)
		}
	}
	slices.SortFunc(all, func(a, b Warning) int {
		return cmp.Or(slices.Compare(a.Keys, b.Keys), cmp.Compare(a.Message, b.Message))
	})
	return all
}

// circular are the entities that are among their own parents' parents. Every
// entity is visited once, however long the lines are.
func (d Document) circular() map[string]bool {
	circular := map[string]bool{}
	walks := make(map[string]int, len(d.Entities)) // :: entity -> number of the walk that visited it
	walk := 0
	for name := range d.Entities {
		walk++
		for d.Entities[name].Parent != "" && walks[name] == 0 {
			walks[name] = walk
			name = d.Entities[name].Parent
		}
		if walks[name] != walk {
			continue // this walk ended, or met an earlier one
		}
		for !circular[name] {
			circular[name] = true
			name = d.Entities[name].Parent
		}
	}
	return circular
}

// circle shows the circle that an entity is in, or the beginning of a long one.
func (d Document) circle(name string) string {
	line := []string{name}
	for p := d.Entities[name].Parent; p != name; p = d.Entities[p].Parent {
		if len(line) > MaxParents {
			line = append(line, "...")
			break
		}
		line = append(line, p)
	}
	return strings.Join(append(line, name), " -> ")
}

// cascadesTooFar reports whether a charge of an entity would concern more than
// MaxParents others. A circle that it comes into is reported of those in it.
func (d Document) cascadesTooFar(name string, circular map[string]bool) bool {
	e, n := d.Entities[name], 0
	for e.Cascade && e.Parent != "" && n <= MaxParents {
		if circular[e.Parent] {
			return false
		}
		e = d.Entities[e.Parent]
		n++
	}
	return n > MaxParents
}

// The bounds of what is compared to find the name that was meant.
const (
	maxHinted = 64
	maxKnown  = 1000
)

// nearest is a hint at the known name that was probably meant, or empty.
func nearest[T any](name string, known map[string]T) string {
	if len(name) > maxHinted || len(known) > maxKnown {
		return ""
	}
	best, least := "", max(len(name)/3, min(len(name)/2, 2))+1
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if n := edlib.OSADamerauLevenshteinDistance(name, k); n < least {
			best, least = k, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}
