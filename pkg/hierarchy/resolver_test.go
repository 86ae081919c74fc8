package hierarchy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// rpm makes limits that a test can tell apart by their rate.
func rpm(rate int64) []ratelimit.Limit { return []ratelimit.Limit{ratelimit.PerMinute("rpm", rate)} }

func key(t testing.TB, namespace, entity, resource, variant string) ratelimit.Key {
	t.Helper()
	k, err := ratelimit.NewKey(namespace, entity, resource, variant)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func resolve(t testing.TB, r ratelimit.Resolver, q ratelimit.Query) ratelimit.Resolution {
	t.Helper()
	res, err := r.Resolve(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// brief is a resolution as one text: each target as ENTITY LEVEL RATE and what
// is special about it.
func brief(res ratelimit.Resolution) string {
	var parts []string
	for _, x := range res.Targets {
		s := fmt.Sprintf("%s %s", x.Key.Entity(), x.Level)
		for _, l := range x.Limits {
			s += fmt.Sprintf(" %d", l.Rate)
		}
		if x.Mode != ratelimit.ModeOn {
			s += " " + x.Mode.String()
		}
		if !x.Expires {
			s += " kept"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

const long = 300 // bytes of a name that keys hold as a hash

func document() Document {
	deny, allow := ratelimit.FallbackDeny, ratelimit.FallbackAllow
	disabled, bypass, on := ratelimit.ModeDisabled, ratelimit.ModeBypass, ratelimit.ModeOn
	said := func(rate int64) Level { return Level{Limits: rpm(rate)} }
	return Document{
		System: Level{Limits: rpm(100), OnUnavailable: allow},
		Resources: map[string]Level{
			"gpt-4":                   {Limits: rpm(50), OnUnavailable: deny},
			"closed":                  {Mode: disabled},
			"/v1/orders":              said(51),
			strings.Repeat("r", long): said(52),
		},
		Tiers: map[string]Tier{
			"gold":  {Level: said(1000), Resources: map[string]Level{"gpt-4": said(500)}},
			"Empty": {},
			"dark":  {Level: Level{Mode: disabled}},
		},
		Entities: map[string]Entity{
			"own":       {Level: said(1), Resources: map[string]Level{"gpt-4": said(2)}},
			"a/b#c\xff": {Level: said(3)}, strings.Repeat("e", long): {Level: said(4)},
			"golden":   {Tier: "gold", Metadata: map[string]string{"crm": "42"}},
			"hollow":   {Tier: "Empty"},
			"stray":    {Tier: "nowhere"},
			"off":      {Level: Level{Mode: disabled}, Resources: map[string]Level{"gpt-4": {Mode: on}}},
			"free":     {Level: Level{Mode: bypass}, Tier: "dark"},
			"darkened": {Tier: "dark"},

			"child":      {Parent: "own", Cascade: true},
			"childless":  {Parent: "own"},
			"grandchild": {Parent: "middle", Cascade: true, Level: said(9)},
			"middle":     {Parent: "golden", Cascade: true},
			"orphan":     {Parent: "gone", Cascade: true},
			"of off":     {Parent: "off", Cascade: true},
			"of free":    {Parent: "free", Cascade: true},
			"loop1":      {Parent: "loop2", Cascade: true, Level: said(21)},
			"loop2":      {Parent: "loop1", Cascade: true, Level: said(22)},
			"into loop":  {Parent: "loop1", Cascade: true, Level: said(20)},
		},
	}
}

func TestResolve(t *testing.T) {
	r := NewResolver("default", document())
	override := ratelimit.PerHour("requests", 7)
	for _, c := range []struct {
		name string
		q    ratelimit.Query
		want string
	}{
		{"entity and resource", query(t, "own", "gpt-4"), "own entity+resource 2 kept"},
		{"entity", query(t, "own", "other"), "own entity 1 kept"},
		{"tier and resource", query(t, "golden", "gpt-4"), "golden tier+resource 500"},
		{"tier", query(t, "golden", "/v1/orders"), "golden tier 1000"},
		{"resource", query(t, "anybody", "gpt-4"), "anybody resource 50"},
		{"system", query(t, "anybody", "other"), "anybody system 100"},
		{"tier of the query", tiered(query(t, "anybody", "gpt-4"), "gold"), "anybody tier+resource 500"},
		{"the entity's tier wins", tiered(query(t, "hollow", "gpt-4"), "gold"), "hollow resource 50"},
		{"even one that isn't known", tiered(query(t, "stray", "gpt-4"), "gold"), "stray resource 50"},
		{"unknown tier of the query", tiered(query(t, "anybody", "gpt-4"), "Gold"), "anybody resource 50"},
		{"tier of an entity that has none", tiered(query(t, "childless", "gpt-4"), "gold"), "childless tier+resource 500"},
		{"any bytes", query(t, "a/b#c\xff", "/v1/orders"), "a/b#c\xff entity 3 kept"},
		{"any bytes in a resource", query(t, "anybody", "/v1/orders"), "anybody resource 51"},
		{"a long resource", query(t, "anybody", strings.Repeat("r", long)), "anybody resource 52"},
		{"another long resource", query(t, "anybody", strings.Repeat("r", long)+"s"), "anybody system 100"},

		{"mode of a resource", query(t, "own", "closed"), "own entity 1 disabled kept"},
		{"mode of an entity", query(t, "off", "other"), "off system 100 disabled"},
		{"on says no to a wider mode", query(t, "off", "gpt-4"), "off resource 50"},
		{"the first that says one", query(t, "free", "closed"), "free system 100 bypass"},
		{"mode of a tier", query(t, "darkened", "gpt-4"), "darkened resource 50 disabled"},
		{"mode of the query's tier", tiered(query(t, "anybody", "gpt-4"), "dark"), "anybody resource 50 disabled"},

		{"parent", query(t, "child", "gpt-4"), "child resource 50, own entity+resource 2 kept"},
		{"the tier of the query isn't the parent's", tiered(query(t, "of free", "gpt-4"), "gold"), "of free tier+resource 500"},
		{"no cascade", query(t, "childless", "gpt-4"), "childless resource 50"},
		{"a parent without limits hands on", query(t, "grandchild", "gpt-4"), "grandchild entity 9 kept, golden tier+resource 500"},
		{"unknown parent", query(t, "orphan", "gpt-4"), "orphan resource 50"},
		{"disabled parent", query(t, "of off", "other"), "of off system 100, off none disabled"},
		{"parent on for this resource", query(t, "of off", "gpt-4"), "of off resource 50"},
		{"round in a circle", query(t, "loop1", "gpt-4"), "loop1 entity 21 kept, loop2 entity 22 kept"},
		{"into a circle", query(t, "into loop", "gpt-4"), "into loop entity 20 kept, loop1 entity 21 kept, loop2 entity 22 kept"},

		{"defaults are last", defaulted(query(t, "anybody", "other")), "anybody system 100"},
		{"another namespace", ratelimit.Query{Key: key(t, "acme", "own", "gpt-4", ""), Tier: "gold"}, ""},
		{"defaults in another namespace", defaulted(ratelimit.Query{Key: key(t, "acme", "own", "gpt-4", "")}), "own default_limits 77"},
		{
			"override",
			ratelimit.Query{Key: key(t, "default", "child", "gpt-4", "HOURx1"), Override: &override, DefaultLimits: rpm(77)},
			"child override 7, own entity+resource 2 kept",
		},
		{
			"override of what is disabled",
			ratelimit.Query{Key: key(t, "default", "off", "other", "HOURx1"), Override: &override},
			"off override 7 disabled",
		},
		{
			"override in another namespace",
			ratelimit.Query{Key: key(t, "acme", "own", "gpt-4", "HOURx1"), Override: &override},
			"own override 7",
		},
	} {
		res := resolve(t, r, c.q)
		if got := brief(res); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
		for _, x := range res.Targets {
			if x.Key.Variant() != c.q.Key.Variant() || x.Key.ResourceID() != c.q.Key.ResourceID() || x.Revision != 0 {
				t.Errorf("%s: target %s at revision %d", c.name, x.Key.ID(), x.Revision)
			}
		}
	}
}

func query(t testing.TB, entity, resource string) ratelimit.Query {
	t.Helper()
	return ratelimit.Query{Key: key(t, "default", entity, resource, "")}
}

func tiered(q ratelimit.Query, tier string) ratelimit.Query {
	q.Tier = tier
	return q
}

func defaulted(q ratelimit.Query) ratelimit.Query {
	q.DefaultLimits = rpm(77)
	return q
}

// Without system limits, there may be nothing to charge, or only parents.
func TestResolveWithoutLimits(t *testing.T) {
	r := NewResolver("default", Document{Entities: map[string]Entity{
		"child":  {Parent: "parent", Cascade: true},
		"parent": {Level: Level{Limits: rpm(3)}},
		"free":   {Level: Level{Mode: ratelimit.ModeBypass}},
		"off":    {Level: Level{Mode: ratelimit.ModeDisabled}},
		"on":     {Level: Level{Mode: ratelimit.ModeOn}},
	}})
	for _, c := range []struct{ entity, want string }{
		{"anybody", ""},
		{"on", ""},
		{"child", "child none, parent entity 3 kept"},
		{"free", "free none bypass"},
		{"off", "off none disabled"},
	} {
		if got := brief(resolve(t, r, query(t, c.entity, "x"))); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.entity, got, c.want)
		}
	}
	if got := brief(resolve(t, r, defaulted(query(t, "anybody", "x")))); got != "anybody default_limits 77" {
		t.Errorf("defaults: %s", got)
	}
}

func TestResolveTellsOfTheEntity(t *testing.T) {
	r := NewResolver("default", document())
	for _, c := range []struct {
		q        ratelimit.Query
		tier     string
		metadata map[string]string
		fallback ratelimit.Fallback
	}{
		{query(t, "golden", "gpt-4"), "gold", map[string]string{"crm": "42"}, ratelimit.FallbackDeny},
		{tiered(query(t, "golden", "other"), "dark"), "gold", map[string]string{"crm": "42"}, ratelimit.FallbackAllow},
		{tiered(query(t, "anybody", "other"), "platinum"), "platinum", nil, ratelimit.FallbackAllow},
		{query(t, "anybody", "/v1/orders"), "", nil, ratelimit.FallbackAllow},
		{ratelimit.Query{Key: key(t, "acme", "golden", "gpt-4", ""), Tier: "x"}, "x", nil, ratelimit.FallbackUnset},
	} {
		res := resolve(t, r, c.q)
		if res.Tier != c.tier || !cmp.Equal(res.Metadata, c.metadata) || res.OnUnavailable != c.fallback {
			t.Errorf("%s: tier %q, metadata %v, on_unavailable %s", c.q.Key.ID(), res.Tier, res.Metadata, res.OnUnavailable)
		}
	}
}

func TestResolveEndsLongCascades(t *testing.T) {
	doc := Document{Entities: map[string]Entity{}}
	for i := range 20 {
		doc.Entities[fmt.Sprint(i)] = Entity{Parent: fmt.Sprint(i + 1), Cascade: true, Level: Level{Limits: rpm(1)}}
	}
	res := resolve(t, NewResolver("default", doc), query(t, "0", "x"))
	if len(res.Targets) != 1+MaxParents || res.Targets[MaxParents].Key.Entity() != "8" {
		t.Errorf("targets: %s", brief(res))
	}
}

// The order of the levels, against the same thing said in another way: a list
// of what each level says, for any document.
func TestResolveOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := int64(0)
		level := func(name string) Level {
			var l Level
			if rapid.Bool().Draw(t, name+" has limits") {
				rate++
				l.Limits = rpm(rate)
			}
			l.Mode = rapid.SampledFrom([]ratelimit.Mode{0, 0, ratelimit.ModeOn, ratelimit.ModeBypass, ratelimit.ModeDisabled}).Draw(t, name+" mode")
			return l
		}
		names := []string{"entity+resource", "entity", "tier+resource", "tier", "resource", "system"}
		levels := make([]Level, len(names))
		for i, n := range names {
			levels[i] = level(n)
		}
		doc := Document{
			System: levels[5], Resources: map[string]Level{"r": levels[4]},
			Tiers:    map[string]Tier{"t": {Level: levels[3], Resources: map[string]Level{"r": levels[2]}}},
			Entities: map[string]Entity{"e": {Level: levels[1], Resources: map[string]Level{"r": levels[0]}, Tier: "t"}},
		}
		k, err := ratelimit.NewKey("default", "e", "r", "")
		if err != nil {
			t.Fatal(err)
		}
		res, err := NewResolver("default", doc).Resolve(t.Context(), ratelimit.Query{Key: k})
		if err != nil {
			t.Fatal(err)
		}
		want := ratelimit.Target{Key: k, Mode: ratelimit.ModeOn, Expires: true}
		if i := slices.IndexFunc(levels, func(l Level) bool { return len(l.Limits) > 0 }); i >= 0 {
			want.Limits, want.Level, want.Expires = levels[i].Limits, ratelimit.LevelEntityResource+ratelimit.Level(i), i > 1
		}
		if i := slices.IndexFunc(levels, func(l Level) bool { return l.Mode != ratelimit.ModeUnset }); i >= 0 {
			want.Mode = levels[i].Mode
		}
		var targets []ratelimit.Target
		if len(want.Limits) > 0 || want.Mode != ratelimit.ModeOn {
			targets = append(targets, want)
		}
		if diff := cmp.Diff(targets, res.Targets, cmp.AllowUnexported(ratelimit.Key{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestResolveAllocations(t *testing.T) {
	r := NewResolver("default", document())
	for _, c := range []struct {
		entity string
		most   float64
	}{{"anybody", 1}, {"golden", 1}, {"child", 2}} {
		q := query(t, c.entity, "gpt-4")
		ctx := t.Context()
		if n := testing.AllocsPerRun(100, func() { _, _ = r.Resolve(ctx, q) }); n > c.most {
			t.Errorf("%s: %v allocations, more than %v", c.entity, n, c.most)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	r := NewResolver("default", document())
	for _, entity := range []string{"anybody", "golden", "grandchild"} {
		b.Run(entity, func(b *testing.B) {
			q := query(b, entity, "gpt-4")
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Resolve(ctx, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
