package zaelimiter

import (
	"fmt"
	"maps"
	"slices"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// settleCascades gives entities the cascade that is in force for them there:
// that of their `_default_` level, before that of their profile. What is said
// for one resource alone can't be said here.
func (w *world) settleCascades() {
	anyParent := false
	for name, e := range w.doc.Entities {
		anyParent = anyParent || e.Parent != ""
		if on, said := w.cascades[hierarchy.EntityRef(name, "")]; said && e.Parent != "" {
			e.Cascade = on
			w.doc.Entities[name] = e
		}
	}
	for ref, on := range w.cascades {
		switch e := w.doc.Entities[ref.Name]; {
		case ref.Kind == hierarchy.KindResource && anyParent:
			w.lose(ref, featureCascade, "", fmt.Sprintf("%s for this resource there, unless an entity says otherwise; here an entity's own word holds for all resources", onOff(on)))
		case ref.Kind == hierarchy.KindEntityResource && e.Parent != "" && e.Cascade != on:
			w.lose(ref, featureCascade, "", fmt.Sprintf("%s for this resource there; here the entity's is %s for all", onOff(on), onOff(e.Cascade)))
		}
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// cutParents takes away parents that can't be here: lines longer than
// MaxParents, and circles.
func (w *world) cutParents() {
	cut := map[string]string{}
	for name, e := range w.doc.Entities {
		n := 0
		for at := e.Parent; at != "" && n <= hierarchy.MaxParents; at = w.doc.Entities[at].Parent {
			n++
		}
		if n > hierarchy.MaxParents {
			cut[name] = e.Parent
		}
	}
	for name, parent := range cut {
		w.lose(hierarchy.ProfileRef(name), featureParent, "", fmt.Sprintf("it has more than %d parents, or they go round in a circle: it is imported without its own, %q", hierarchy.MaxParents, parent))
		e := w.doc.Entities[name]
		e.Parent, e.Cascade = "", false
		w.doc.Entities[name] = e
	}
}

// compareParents tells of the parents that a cascade charges otherwise here. A
// parent is charged by its own limits alone, there by the resource's or the
// system's where it has none; and a cascade goes on to the parent's parent,
// where it ends there.
func (w *world) compareParents() {
	parents := map[string]bool{}
	for _, e := range w.doc.Entities {
		if e.Cascade && e.Parent != "" {
			parents[e.Parent] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parents)) {
		e := w.doc.Entities[name]
		if w.takesDefaults(&e) {
			w.lose(hierarchy.EntityRef(name, ""), featureParent, "", "as a parent it is charged by its own limits alone here; there also by those of the resource or the system where it has none")
		}
		if e.Cascade && e.Parent != "" {
			w.lose(hierarchy.ProfileRef(name), featureCascade, "", fmt.Sprintf("charges of its children go on to its own parent %q here; there they end with it", e.Parent))
		}
	}
}

// takesDefaults reports whether limits of the system or of a resource apply to
// an entity.
func (w *world) takesDefaults(e *hierarchy.Entity) bool {
	if len(e.Limits) > 0 {
		return false
	}
	if len(w.doc.System.Limits) > 0 {
		return true
	}
	for r, l := range w.doc.Resources {
		if len(l.Limits) > 0 && len(e.Resources[r].Limits) == 0 {
			return true
		}
	}
	return false
}
