package hierarchy_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

const planned = "planned"

// contextTB is a test, or a case of rapid's.
type contextTB interface {
	rapid.TB
	Context() context.Context
}

func plannedStore(t contextTB) (*embedstore.Store, hierarchy.Cause) {
	t.Helper()
	s := embedstore.New(embedstore.Config{})
	by := hierarchy.Cause{By: hierarchy.Actor{Caller: "test"}, At: time.UnixMilli(1_800_000_000_000)}
	if _, err := s.RegisterNamespace(t.Context(), planned, by); err != nil {
		t.Fatal(err)
	}
	return s, by
}

// someDocument is a document with parents of some depth.
func someDocument(t *rapid.T, label string) hierarchy.Document {
	level := rapid.Custom(func(t *rapid.T) hierarchy.Level {
		return hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", rapid.Int64Range(1, 3).Draw(t, "rate"))}}
	})
	levels := rapid.MapOfN(rapid.SampledFrom([]string{"r1", "r2"}), level, 0, 2)
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), 0, 6, rapid.ID).Draw(t, label+" names")
	d := hierarchy.Document{Resources: levels.Draw(t, label+" resources"), Tiers: map[string]hierarchy.Tier{}, Entities: map[string]hierarchy.Entity{}}
	if rapid.Bool().Draw(t, label+" tier") {
		d.Tiers["gold"] = hierarchy.Tier{Level: level.Draw(t, label+" level"), Resources: levels.Draw(t, label+" resources of the tier")}
	}
	for i, name := range names {
		e := hierarchy.Entity{Resources: levels.Draw(t, label+" resources of "+name)}
		if i > 0 { // the order of names is drawn, so parents change places
			e.Parent = rapid.SampledFrom(append([]string{""}, names[:i]...)).Draw(t, label+" parent of "+name)
			e.Cascade = e.Parent != "" && rapid.Bool().Draw(t, label+" cascade")
		}
		d.Entities[name] = e
	}
	return d
}

// Whatever a store says, applying a manifest makes it say what the manifest
// does; a second time nothing is written, and an export gives it back.
func TestApplyEndsEqualToTheManifest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, by := plannedStore(t)
		for i := range 3 {
			m := hierarchy.Manifest{Manager: "ci", Document: someDocument(t, fmt.Sprint(i))}
			apply(t, s, by, m)
			again, err := hierarchy.MakePlan(t.Context(), s, planned, m, false)
			if err != nil || len(again.Steps) > 0 {
				t.Fatalf("a second plan: %v, %v", again, err)
			}
			got, err := hierarchy.Export(t.Context(), s, planned, "ci")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m.Document, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func apply(t contextTB, s hierarchy.Editor, by hierarchy.Cause, m hierarchy.Manifest) int {
	t.Helper()
	p, err := hierarchy.MakePlan(t.Context(), s, planned, m, false)
	if err != nil {
		t.Fatal(err)
	}
	n, err := hierarchy.Apply(t.Context(), s, planned, by, p, nil)
	if err != nil || n != len(p.Steps) {
		t.Fatalf("Apply: %d of %d: %v", n, len(p.Steps), err)
	}
	return n
}

// Many entities with many parents fit into edits, and what was interrupted goes
// on from where it was.
func TestApplyGoesOn(t *testing.T) {
	s, by := plannedStore(t)
	d := hierarchy.Document{Entities: map[string]hierarchy.Entity{}}
	for i := range 500 {
		e := hierarchy.Entity{Level: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", int64(i+1))}}}
		switch depth := i % hierarchy.MaxParents; {
		case depth > 0:
			e.Parent = fmt.Sprint("e", i-1)
		case i%3 == 0:
			e.Parent = "one who isn't in the manifest"
		}
		d.Entities[fmt.Sprint("e", i)] = e
	}
	m := hierarchy.Manifest{Manager: "ci", Document: d}
	broken := errors.New("the process is killed")
	last := 0
	p, err := hierarchy.MakePlan(t.Context(), s, planned, m, false)
	if err != nil {
		t.Fatal(err)
	}
	n, err := hierarchy.Apply(t.Context(), &cut{Editor: s, left: 7, err: broken}, planned, by, p, func(done int) { last = done })
	if !errors.Is(err, broken) || n != last || n == 0 {
		t.Fatalf("the first try did %d, told %d: %v", n, last, err)
	}
	if more := apply(t, s, by, m); more != len(p.Steps)-n {
		t.Errorf("the second try did %d, not %d", more, len(p.Steps)-n)
	}
	if again := apply(t, s, by, m); again != 0 {
		t.Errorf("the third try did %d", again)
	}
}

// cut is a store that fails after some edits.
type cut struct {
	hierarchy.Editor
	left int
	err  error
}

func (c *cut) Edit(ctx context.Context, namespace string, e hierarchy.Edit) (int64, error) {
	if c.left--; c.left < 0 {
		return 0, c.err
	}
	return c.Editor.Edit(ctx, namespace, e)
}

// A manifest removes what is its own, takes what is nobody's, and leaves to
// another manager what is that one's.
func TestManagers(t *testing.T) {
	s, by := plannedStore(t)
	one := func(rate int64) hierarchy.Level {
		return hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", rate)}}
	}
	manifest := func(manager string, resources map[string]hierarchy.Level) hierarchy.Manifest {
		return hierarchy.Manifest{Manager: manager, Document: hierarchy.Document{Resources: resources}}
	}
	apply(t, s, by, manifest("other", map[string]hierarchy.Level{"theirs": one(1)}))
	_, err := hierarchy.Update(t.Context(), s, planned, by, "set", []hierarchy.Ref{hierarchy.ResourceRef("hand"), hierarchy.ResourceRef("by hand")}, func(items []hierarchy.Item) error {
		for i := range items {
			items[i].Deleted, items[i].Level = false, one(2)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, s, by, manifest("ci", map[string]hierarchy.Level{"old": one(3), "hand": one(2)}))

	m := manifest("ci", map[string]hierarchy.Level{"hand": one(4), "theirs": one(5), "new": one(6)})
	p, err := hierarchy.MakePlan(t.Context(), s, planned, m, false)
	if err != nil {
		t.Fatal(err)
	}
	steps := map[string]string{}
	for i := range p.Steps {
		steps[p.Steps[i].After.Ref.Resource] = p.Steps[i].Action()
	}
	if diff := cmp.Diff(map[string]string{"old": "delete", "hand": "update", "new": "create"}, steps); diff != "" {
		t.Error(diff)
	}
	if len(p.Conflicts) != 1 || p.Conflicts[0].Ref.Resource != "theirs" || p.Conflicts[0].Manager != "other" {
		t.Errorf("conflicts: %v", p.Conflicts)
	}
	p, err = hierarchy.MakePlan(t.Context(), s, planned, m, true)
	if err != nil || len(p.Conflicts) > 0 || len(p.Steps) != 4 {
		t.Fatalf("with force: %v, %v", p, err)
	}
	if _, err := hierarchy.Apply(t.Context(), s, planned, by, p, nil); err != nil {
		t.Fatal(err)
	}
	d, err := hierarchy.Export(t.Context(), s, planned, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(d.Resources)); !slices.Equal(got, []string{"by hand", "hand", "new", "theirs"}) {
		t.Errorf("there is %q", got)
	}
}

// Who changes an item after the plan was made is told, and nothing is lost.
func TestApplyConflicts(t *testing.T) {
	s, by := plannedStore(t)
	m := hierarchy.Manifest{Manager: "ci", Document: hierarchy.Document{System: hierarchy.Level{Mode: ratelimit.ModeBypass}}}
	p, err := hierarchy.MakePlan(t.Context(), s, planned, m, false)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, s, by, hierarchy.Manifest{Manager: "other", Document: hierarchy.Document{System: hierarchy.Level{Mode: ratelimit.ModeOn}}})
	n, err := hierarchy.Apply(t.Context(), s, planned, by, p, nil)
	var conflict *hierarchy.ConflictError
	if n != 0 || !errors.As(err, &conflict) || conflict.Found.Manager != "other" {
		t.Errorf("Apply: %d, %v", n, err)
	}
}

// What can't be is refused before anything is written.
func TestPlanRefuses(t *testing.T) {
	s, _ := plannedStore(t)
	line := map[string]hierarchy.Entity{}
	for i := range hierarchy.MaxParents + 1 {
		line[fmt.Sprint(i)] = hierarchy.Entity{Parent: fmt.Sprint(i + 1)}
	}
	for name, d := range map[string]hierarchy.Document{
		"a long line": {Entities: line},
		"a circle":    {Entities: map[string]hierarchy.Entity{"a": {Parent: "b"}, "b": {Parent: "a"}}},
		"a bad limit": {System: hierarchy.Level{Limits: []ratelimit.Limit{{Name: "rpm"}}}},
		"its own":     {Entities: map[string]hierarchy.Entity{"a": {Parent: "a"}}},
	} {
		var invalid *hierarchy.InvalidItemError
		if p, err := hierarchy.MakePlan(t.Context(), s, planned, hierarchy.Manifest{Manager: "ci", Document: d}, false); !errors.As(err, &invalid) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}
