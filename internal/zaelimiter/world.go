package zaelimiter

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// world is what a namespace holds, as far as it was read.
type world struct {
	doc    hierarchy.Document
	losses []Loss
	// cascades are said at levels there. Here an entity says it once.
	cascades map[hierarchy.Ref]bool
}

func newWorld() *world {
	return &world{
		doc:      hierarchy.Document{Resources: map[string]hierarchy.Level{}, Entities: map[string]hierarchy.Entity{}},
		cascades: map[hierarchy.Ref]bool{},
	}
}

// take takes an item by its keys, less the namespace's id.
func (w *world) take(place, sk string, a attributes) {
	switch kind, name, _ := strings.Cut(place, "#"); kind {
	case "SYSTEM":
		w.takeSystem(sk, a)
	case "RESOURCE":
		if l, ok := w.level(hierarchy.ResourceRef(name), a); ok {
			w.doc.Resources[name] = l
		}
	case "ENTITY":
		w.takeEntity(name, sk, a)
	}
}

func (w *world) takeSystem(sk string, a attributes) {
	switch sk {
	case skConfig:
		w.system(a)
	case skProvisioner:
		w.lose(hierarchy.SystemRef(), featureManifest, "", "some of this is kept in a manifest there, which goes on changing that table: keep it as a file for limits apply, or let go of it")
	}
}

func (w *world) takeEntity(name, sk string, a attributes) {
	if sk == skMeta {
		w.profile(name, a)
		return
	}
	resource, isConfig := strings.CutPrefix(sk, skConfig+"#")
	if !isConfig {
		return
	}
	if resource == ratelimit.ReservedResource {
		resource = ""
	}
	l, ok := w.level(hierarchy.EntityRef(name, resource), a)
	if !ok {
		return
	}
	e := w.doc.Entities[name]
	if resource == "" {
		e.Level = l
	} else {
		if e.Resources == nil {
			e.Resources = map[string]hierarchy.Level{}
		}
		e.Resources[resource] = l
	}
	w.doc.Entities[name] = e
}

func (w *world) lose(ref hierarchy.Ref, feature, limit, detail string) {
	w.losses = append(w.losses, Loss{Target: ref, Feature: feature, Limit: limit, Detail: detail})
}

// can reports whether an item can be written; what is wrong with one that can't
// is a loss.
func (w *world) can(i *hierarchy.Item, feature string) bool {
	err := i.Check()
	if err == nil {
		return true
	}
	detail := err.Error()
	var invalid *hierarchy.InvalidItemError
	if errors.As(err, &invalid) {
		detail = strings.Join(invalid.Faults, "; ")
	}
	w.lose(i.Ref, feature, "", detail)
	return false
}

func (w *world) system(a attributes) {
	ref := hierarchy.SystemRef()
	l, _ := w.level(ref, a)
	switch action := a.text("on_unavailable"); action {
	case "allow":
		l.OnUnavailable = ratelimit.FallbackAllow
	case "block":
		l.OnUnavailable = ratelimit.FallbackDeny
	case "":
	default:
		w.lose(ref, featureUnavailable, "", "it is none of allow and block")
	}
	if days := a.number("audit_retention_days"); days != "" {
		w.lose(ref, featureAuditRetention, "", days+" days there; here it is the whole stack's")
	}
	w.doc.System = l
}

// profile takes what is said of an entity beside its limits.
func (w *world) profile(name string, a attributes) {
	ref := hierarchy.ProfileRef(name)
	if !w.can(&hierarchy.Item{Ref: ref}, featureName) {
		return
	}
	e := w.doc.Entities[name]
	if n := a.text("name"); n != name && w.can(&hierarchy.Item{Ref: ref, Profile: hierarchy.Profile{DisplayName: n}}, featureDisplayName) {
		e.DisplayName = n
	}
	if p := a.text("parent_id"); p != "" && w.can(&hierarchy.Item{Ref: ref, Profile: hierarchy.Profile{Parent: p}}, featureParent) {
		e.Parent = p
	}
	e.Cascade, _ = a.flag("cascade")
	if m := w.metadata(ref, a["metadata"]); w.can(&hierarchy.Item{Ref: ref, Profile: hierarchy.Profile{Metadata: m}}, featureMetadata) {
		e.Metadata = m
	}
	w.doc.Entities[name] = e
}

// metadata are texts here; there they can be more.
func (w *world) metadata(ref hierarchy.Ref, v types.AttributeValue) map[string]string {
	all, ok := v.(*types.AttributeValueMemberM)
	if !ok || len(all.Value) == 0 {
		return nil
	}
	texts := make(map[string]string, len(all.Value))
	a := attributes(all.Value)
	for _, k := range slices.Sorted(maps.Keys(all.Value)) {
		b, isFlag := a.flag(k)
		_, isText := a[k].(*types.AttributeValueMemberS)
		switch {
		case isText:
			texts[k] = a.text(k)
		case a.number(k) != "":
			texts[k] = a.number(k)
		case isFlag && b:
			texts[k] = "true"
		case isFlag:
			texts[k] = "false"
		default:
			w.lose(ref, featureMetadata, "", k+" is no text, number or truth value")
		}
	}
	return texts
}

// finish settles what needs all of a namespace.
func (w *world) finish(name string) (hierarchy.Document, []Loss) {
	w.settleCascades()
	w.cutParents()
	w.compareParents()
	for i := range w.losses {
		w.losses[i].Namespace = name
	}
	slices.SortFunc(w.losses, func(a, b Loss) int {
		return cmp.Or(
			a.Target.Compare(b.Target), cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Detail, b.Detail),
		)
	})
	return w.doc, w.losses
}
