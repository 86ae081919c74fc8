package hierarchy

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// anyName are names of any bytes.
func anyName() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "{}", `{"base64":"YQ=="}`, "\ufffd", "\xff", "a\x00b", "<&>", "\u2028"}),
	)
}

func anyItem() *rapid.Generator[Item] {
	return rapid.Custom(func(t *rapid.T) Item {
		i := Item{
			Ref: Ref{
				Kind: Kind(rapid.IntRange(0, int(KindEntityResource)).Draw(t, "kind")),
				Name: anyName().Draw(t, "name"), Resource: anyName().Draw(t, "resource"),
			},
			Revision: rapid.Int64().Draw(t, "revision"), Deleted: rapid.Bool().Draw(t, "deleted"),
			UpdatedAt: Kept(time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "at"))),
			Manager:   rapid.String().Draw(t, "manager"),
			Level: Level{
				Mode:          ratelimit.Mode(rapid.IntRange(0, int(ratelimit.ModeBypass)).Draw(t, "mode")),
				OnUnavailable: ratelimit.Fallback(rapid.IntRange(0, int(ratelimit.FallbackLocal)).Draw(t, "fallback")),
			},
			Profile: Profile{
				DisplayName: rapid.String().Draw(t, "display"), Tier: anyName().Draw(t, "tier"), Parent: anyName().Draw(t, "parent"),
				Cascade: rapid.Bool().Draw(t, "cascade"), Metadata: rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata"),
			},
		}
		for range rapid.IntRange(0, 3).Draw(t, "limits") {
			i.Level.Limits = append(i.Level.Limits, ratelimit.Limit{
				Name: "rpm", Rate: rapid.Int64Range(1, ratelimit.MaxTokens).Draw(t, "rate"), Burst: rapid.Int64Range(1, ratelimit.MaxTokens).Draw(t, "burst"),
				Period: time.Duration(rapid.Int64Range(1, int64(ratelimit.MaxPeriod/time.Millisecond)).Draw(t, "period")) * time.Millisecond,
			})
		}
		return i
	})
}

// Whatever an item holds, its JSON holds too.
func TestJSONIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyItem().Draw(t, "item")
		event := Event{ID: "x", At: want.UpdatedAt, By: Actor{Caller: "me"}, Action: "do", Target: want.Ref, Before: &want}
		b, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		var got Event
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v of %s", err, b)
		}
		if diff := cmp.Diff(event, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestJSONOfNewerVersions(t *testing.T) {
	for text, fine := range map[string]bool{
		`{"kind":"system","revision":1,"later":{"a":1}}`: true,
		`{"kind":"system","mode":"on"}`:                  true,
		`{"kind":"galaxy"}`:                              false,
		`{"kind":"system","mode":"observe"}`:             false,
		`{"kind":"system","on_unavailable":"guess"}`:     false,
	} {
		var i Item
		if err := json.Unmarshal([]byte(text), &i); (err == nil) != fine {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Events of one change, and of changes in one millisecond, are in order; no two
// have the same id.
func TestEventsAreInOrder(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_123)
	e := Edit{Cause: Cause{At: at, By: Actor{Caller: "me"}}, Action: "do", Puts: []Put{
		{Item: Item{Ref: ResourceRef("a"), Deleted: true}}, {Item: Item{Ref: ResourceRef("b")}},
	}}
	last := ""
	for revision := range int64(600) {
		before := []Item{{Ref: ResourceRef("a"), Revision: 1}, {Ref: ResourceRef("b"), Revision: 1, Deleted: true}}
		for i, ev := range e.Events(revision+1, before) {
			if ev.ID <= last {
				t.Fatalf("revision %d: %s after %s", revision, ev.ID, last)
			}
			last = ev.ID
			if (ev.Before != nil) != (i == 0) || (ev.After != nil) != (i == 1) || !ev.At.Equal(at) {
				t.Fatalf("%+v", ev)
			}
		}
	}
}

// jsonFields are the names of a struct's fields in JSON.
func jsonFields(v any) []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}
