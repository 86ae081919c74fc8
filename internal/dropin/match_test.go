package dropin

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/descriptors"
)

func said(s string) descriptors.Text { return descriptors.Text{Value: s} }

// naive looks a descriptor up as the documentation has it, list by list: what
// the node at its end allows, 0 for nothing, and the values that its bucket is
// for.
func naive(list []Descriptor, entries []descriptors.Entry, bucket []descriptors.Entry) (n uint32, of []descriptors.Entry) {
	e := entries[0]
	found := slices.IndexFunc(list, func(d Descriptor) bool {
		return e.Value != "" && d.Key.Value == e.Key && d.Value.Value == e.Value
	})
	value := e.Value
	if found < 0 {
		found = slices.IndexFunc(list, func(d Descriptor) bool { return strings.Contains(d.Value.Value, "*") && matches(&d, e) })
		if found >= 0 && list[found].ShareThreshold.On {
			value = list[found].Value.Value
		}
	}
	if found < 0 {
		found = slices.IndexFunc(list, func(d Descriptor) bool { return d.Key.Value == e.Key && d.Value.Value == "" })
	}
	if found < 0 {
		return 0, nil
	}
	d := &list[found]
	bucket = append(bucket, descriptors.Entry{Key: e.Key, Value: value})
	switch {
	case len(entries) > 1:
		return naive(d.Descriptors, entries[1:], bucket)
	case d.RateLimit == nil:
		return 0, nil
	}
	return d.RateLimit.RequestsPerUnit.N, bucket
}

// matches compares by a regular expression.
func matches(d *Descriptor, e descriptors.Entry) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(d.Value.Value), `\*`, ".*")
	return d.Key.Value == e.Key && regexp.MustCompile("^(?s)"+pattern+"$").MatchString(e.Value)
}

// words are few, so that they meet, and have what would make joined texts meet.
var aKey = rapid.SampledFrom([]string{"a", "b", "a_b", "a,b", "a=b"})

func aValue(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "_", ",", "=", "%", "/"}), 0, 4).Draw(t, "value"), "")
}

// tree makes a list of nodes, each with a number of its own.
func tree(t *rapid.T, depth int, next *uint32) []Descriptor {
	var list []Descriptor
	taken := map[descriptors.Entry]bool{}
	for range rapid.IntRange(1, 5).Draw(t, "width") {
		d := Descriptor{Key: said(aKey.Draw(t, "key"))}
		d.Value = said(strings.ReplaceAll(aValue(t), "/", "*"))
		if e := (descriptors.Entry{Key: d.Key.Value, Value: d.Value.Value}); taken[e] {
			continue
		} else {
			taken[e] = true
		}
		d.ShareThreshold.On = strings.Contains(d.Value.Value, "*") && rapid.Bool().Draw(t, "shared")
		if rapid.IntRange(0, 3).Draw(t, "limit") > 0 {
			*next++
			d.RateLimit = &RateLimit{Unit: said("day"), RequestsPerUnit: Number{N: *next, Said: true}}
		}
		if depth > 1 {
			d.Descriptors = tree(t, depth-1, next)
		}
		list = append(list, d)
	}
	return list
}

// request walks down a tree, mostly, so that it often finds something.
func request(t *rapid.T, list []Descriptor) []descriptors.Entry {
	var entries []descriptors.Entry
	for range rapid.IntRange(1, 3).Draw(t, "entries") {
		e := descriptors.Entry{Key: aKey.Draw(t, "entry key"), Value: aValue(t)}
		if len(list) > 0 && rapid.IntRange(0, 9).Draw(t, "astray") > 0 {
			d := &list[rapid.IntRange(0, len(list)-1).Draw(t, "node")]
			e.Key = d.Key.Value
			if v := d.Value.Value; v != "" {
				e.Value = strings.ReplaceAll(v, "*", rapid.SampledFrom([]string{"", "a", "*", "b_"}).Draw(t, "star"))
			}
			list = d.Descriptors
		}
		entries = append(entries, e)
	}
	return entries
}

// TestLookUpIsAsDocumented compares with the naive way: the same limit is found,
// and two descriptors have one bucket when and only when it has them so.
func TestLookUpIsAsDocumented(t *testing.T) {
	hits := 0
	rapid.Check(t, func(t *rapid.T) {
		var next uint32
		list := tree(t, 3, &next)
		rules, faults, _ := Compile([]File{{Domain: said("d"), Descriptors: list}}, Options{Namespace: "default"})
		if rules == nil {
			t.Fatal(faults)
		}
		buckets := map[string]string{} // :: the naive bucket -> ours
		for range 8 {
			entries := request(t, list)
			want, of := naive(list, entries, nil)
			out := rules.Evaluate(&descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "d", Entries: entries, Hits: 1})
			if want == 0 {
				if out.Action != descriptors.NoMatch {
					t.Fatalf("%v: %v by %s, want no match", entries, out.Action, out.Rule.Name())
				}
				continue
			}
			hits++
			if out.Action != descriptors.Charge || out.Charges[0].Query.DefaultLimits[0].Burst != int64(want) {
				t.Fatalf("%v: %+v, want %d", entries, out, want)
			}
			id := out.Charges[0].Query.Key.ID()
			theirs := fmt.Sprintf("%q", of)
			for other, known := range buckets {
				if (other == theirs) != (known == id) {
					t.Fatalf("bucket %s of %s, and %s of %s", id, theirs, known, other)
				}
			}
			buckets[theirs] = id
		}
	})
	fewest := 100
	if testing.Short() { // which tries a fifth of the cases
		fewest = 20
	}
	if hits < fewest {
		t.Errorf("only %d descriptors had a limit", hits)
	}
}

// TestJoinedNamesDontMeet has descriptors that are one where keys and values are
// joined by an underscore: as configuration, and as buckets.
func TestJoinedNamesDontMeet(t *testing.T) {
	limit := func(n uint32) *RateLimit {
		return &RateLimit{Unit: said("day"), RequestsPerUnit: Number{N: n, Said: true}}
	}
	rules, faults, _ := Compile([]File{{Domain: said("d"), Descriptors: []Descriptor{
		{Key: said("a_b"), Value: said("c"), RateLimit: limit(1)},
		{Key: said("a"), Value: said("b_c"), RateLimit: limit(2)},
		{Key: said("a"), RateLimit: limit(3), Descriptors: []Descriptor{{Key: said("c"), RateLimit: limit(4)}}},
	}}}, Options{Namespace: "default"})
	if rules == nil {
		t.Fatal(faults)
	}
	seen := map[string]bool{}
	for _, c := range []struct {
		entries []descriptors.Entry
		want    int64
	}{
		{[]descriptors.Entry{{Key: "a_b", Value: "c"}}, 1},
		{[]descriptors.Entry{{Key: "a", Value: "b_c"}}, 2},
		{[]descriptors.Entry{{Key: "a", Value: "b"}}, 3},
		{[]descriptors.Entry{{Key: "a", Value: "b"}, {Key: "c", Value: "e"}}, 4},
		{[]descriptors.Entry{{Key: "a", Value: "b_c_e"}}, 3},
		{[]descriptors.Entry{{Key: "a", Value: "b,c=e"}}, 3},
	} {
		out := rules.Evaluate(&descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "d", Entries: c.entries, Hits: 1})
		if out.Action != descriptors.Charge || out.Charges[0].Query.DefaultLimits[0].Burst != c.want {
			t.Fatalf("%v: %+v, want %d", c.entries, out, c.want)
		}
		id := out.Charges[0].Query.Key.ID()
		if seen[id] {
			t.Errorf("%v has the bucket of another", c.entries)
		}
		seen[id] = true
	}
}

// TestStarsInKeys: a star in a key stands for the rest of the key, and its value.
func TestStarsInKeys(t *testing.T) {
	d := Descriptor{Key: said("x-*"), ShareThreshold: Flag{On: true}, RateLimit: &RateLimit{Unit: said("day"), RequestsPerUnit: Number{N: 5, Said: true}}}
	rules, faults, _ := Compile([]File{{Domain: said("d"), Descriptors: []Descriptor{d}}}, Options{Namespace: "default"})
	if rules == nil {
		t.Fatal(faults)
	}
	ids := map[string]bool{}
	for _, e := range []descriptors.Entry{{Key: "x-user", Value: "1"}, {Key: "x-user", Value: "2"}, {Key: "y-user", Value: "x-"}} {
		out := rules.Evaluate(&descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "d", Entries: []descriptors.Entry{e}, Hits: 1})
		if found := len(out.Charges) == 1; found != (e.Key == "x-user") {
			t.Errorf("%v is found: %t", e, found)
		} else if found {
			ids[out.Charges[0].Query.Key.ID()] = true
		}
	}
	if len(ids) != 1 {
		t.Errorf("a threshold that is shared has the buckets %v", ids)
	}
}

// TestWhatIsNotCharged has the outcomes that ask no store.
func TestWhatIsNotCharged(t *testing.T) {
	rules, _, _ := Compile([]File{{Domain: said("d"), Descriptors: []Descriptor{
		{Key: said("k"), RateLimit: &RateLimit{Unit: said("day"), RequestsPerUnit: Number{N: 5, Said: true}}},
	}}}, Options{Namespace: "default"})
	entries := []descriptors.Entry{{Key: "k", Value: "v"}}
	for name, c := range map[string]struct {
		request descriptors.Request
		action  descriptors.Action
	}{
		"a check":         {descriptors.Request{Protocol: descriptors.ProtocolExtAuthz, Domain: "d", Entries: entries}, descriptors.NoMatch},
		"no domain":       {descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "e", Entries: entries}, descriptors.NoMatch},
		"no entries":      {descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "d"}, descriptors.NoMatch},
		"a refund":        {descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "d", Entries: entries, Refund: true}, descriptors.Allow},
		"too many hits":   {descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "d", Entries: entries, Hits: 1 << 60}, descriptors.Invalid},
		"a limit of none": {descriptors.Request{Protocol: descriptors.ProtocolRateLimit, Domain: "d", Override: &descriptors.Override{Variant: "DAYx1"}}, descriptors.NoMatch},
	} {
		out := rules.Evaluate(&c.request)
		if out.Action != c.action || len(out.Charges) > 0 {
			t.Errorf("%s: %+v", name, out)
		}
		if traced, steps := rules.Trace(&c.request); traced.Action != c.action || len(steps) > 1 {
			t.Errorf("%s is explained otherwise: %+v, %v", name, traced, steps)
		}
	}
}
