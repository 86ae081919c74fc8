package hierarchy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func TestItemCheck(t *testing.T) {
	many := map[string]string{}
	for n := range MaxMetadata + 1 {
		many[fmt.Sprint(n)] = ""
	}
	var limits []ratelimit.Limit
	for n := range MaxLimits + 1 {
		limits = append(limits, ratelimit.PerMinute(fmt.Sprint("l", n), 1))
	}
	of := func(p Profile) Item { return Item{Ref: ProfileRef("e"), Profile: p} }
	at := func(r Ref, l Level) Item { return Item{Ref: r, Level: l} }
	for _, c := range []struct {
		what  string
		item  Item
		fault string // part of it; empty: none
	}{
		{"a resource's mode", at(ResourceRef("r"), Level{Mode: ratelimit.ModeBypass}), ""},
		{"the longest name", at(EntityRef(strings.Repeat("\xff", MaxName), ""), Level{}), ""},
		{"a cascade to nobody", of(Profile{Cascade: true}), ""},
		{"a tombstone", Item{Ref: SystemRef(), Deleted: true, Manager: "m"}, ""},
		{"too long a name", at(EntityRef(strings.Repeat("x", MaxName+1), ""), Level{}), "257 bytes"},
		{"too long a resource", at(TierRef("t", strings.Repeat("x", MaxName+1)), Level{}), "257 bytes"},
		{"a reserved resource", at(EntityRef("e", ratelimit.ReservedResource), Level{}), "reserved"},
		{"no name", at(TierRef("", "r"), Level{}), "tier is empty"},
		{"a system's name", at(Ref{Kind: KindSystem, Name: "x"}, Level{}), "has a name"},
		{"a tier's resource", at(Ref{Kind: KindTier, Name: "x", Resource: "r"}, Level{}), "names a resource"},
		{"no kind", Item{}, "kind 0"},
		{"a kind of tomorrow", Item{Ref: Ref{Kind: 99}}, "kind 99"},
		{"too many limits", at(SystemRef(), Level{Limits: limits}), "21 limits"},
		{"a limit twice", at(SystemRef(), Level{Limits: append(slices.Clone(limits[:1]), limits[0])}), "twice"},
		{"a bad limit", at(SystemRef(), Level{Limits: []ratelimit.Limit{{Name: "x"}}}), "rate 0"},
		{"a mode of tomorrow", at(SystemRef(), Level{Mode: 99}), "mode"},
		{"a fallback of tomorrow", at(SystemRef(), Level{OnUnavailable: 99}), "on_unavailable"},
		{"an entity's fallback", at(EntityRef("e", ""), Level{OnUnavailable: ratelimit.FallbackAllow}), "on_unavailable"},
		{"a profile's limits", Item{Ref: ProfileRef("e"), Level: Level{Limits: limits[:1]}}, "no limits"},
		{"a level's profile", Item{Ref: EntityRef("e", ""), Profile: Profile{Tier: "gold"}}, "no profile"},
		{"its own parent", of(Profile{Parent: "e"}), "own parent"},
		{"too long a tier", of(Profile{Tier: strings.Repeat("x", MaxName+1)}), "tier"},
		{"too many metadata", of(Profile{Metadata: many}), "65 entries"},
		{"too large metadata", of(Profile{Metadata: map[string]string{"k": strings.Repeat("x", 9000)}}), "9001 bytes"},
		{"metadata of bytes", of(Profile{Metadata: map[string]string{"k": "\xff"}}), "not text"},
		{"a display name of bytes", of(Profile{DisplayName: "\xff"}), "UTF-8"},
		{"too long a manager", Item{Ref: SystemRef(), Manager: strings.Repeat("x", 257)}, "manager"},
		{"a tombstone that speaks", Item{Ref: SystemRef(), Deleted: true, Level: Level{Limits: limits[:1]}}, "deleted"},
	} {
		err := c.item.Check()
		var invalid *InvalidItemError
		switch {
		case c.fault == "" && err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.fault != "" && (!errors.As(err, &invalid) || !strings.Contains(err.Error(), c.fault) || invalid.Ref != c.item.Ref):
			t.Errorf("%s: %v, without %q", c.what, err, c.fault)
		}
	}
}

func TestEditCheck(t *testing.T) {
	at := time.UnixMilli(1)
	good := Cause{By: Actor{Caller: "me"}, At: at}
	put := Put{Item: Item{Ref: SystemRef()}}
	for _, c := range []struct {
		edit  Edit
		fault string
	}{
		{Edit{good, "do", []Put{put}, nil}, ""},
		{Edit{good, "", []Put{put}, nil}, "no action"},
		{Edit{good, strings.Repeat("x", 65), []Put{put}, nil}, "longer"},
		{Edit{good, "do", nil, nil}, "changes nothing"},
		{Edit{good, "do", slices.Repeat([]Put{put}, MaxPuts+1), nil}, "25 items"},
		{Edit{good, "do", []Put{put, put}, nil}, "twice"},
		{Edit{good, "do", []Put{put}, []Expectation{{Ref: SystemRef()}}}, "twice"},
		{Edit{good, "do", []Put{put}, []Expectation{{}}}, "kind 0"},
		{Edit{good, "do", []Put{put}, make([]Expectation, MaxReads+1)}, "relies on 25"},
		{Edit{good, "do", []Put{{}}, nil}, "kind 0"},
		{Edit{Cause{At: at}, "do", []Put{put}, nil}, "who"},
		{Edit{Cause{By: Actor{As: "me"}, At: at}, "do", []Put{put}, nil}, "who"},
		{Edit{Cause{By: Actor{Caller: "\xff"}, At: at}, "do", []Put{put}, nil}, "UTF-8"},
		{Edit{Cause{By: good.By}, "do", []Put{put}, nil}, "when"},
	} {
		err := c.edit.Check()
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%+v: %v, not %q", c.edit, err, c.fault)
		}
	}
}

// The fields that this program knows are those that it writes.
func TestItemFields(t *testing.T) {
	fields := map[string]bool{}
	for _, f := range jsonFields(itemJSON{}) {
		fields[f] = true
	}
	for _, f := range itemFields {
		if !fields[f] {
			t.Errorf("%q is not written", f)
		}
		delete(fields, f)
	}
	for f := range fields {
		t.Errorf("%q is written, and would be taken for another version's", f)
	}
}
