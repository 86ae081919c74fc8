package dynamostore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// anyName are names of any bytes, some of them long, some alike.
func anyName() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		name := rapid.OneOf(
			rapid.String(),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
			rapid.SampledFrom([]string{
				"a", "a/b", "a#b", "a%2Fb", "/", "%", "~", "_", "_default_", "p", "l", "\x00", "\xff", "\ufffd", "е", "e",
				strings.Repeat("x", 256), strings.Repeat("/", 256), strings.Repeat("x", 255) + "y",
			}),
		).Draw(t, "name")
		if name == "" {
			return "empty"
		}
		return name[:min(len(name), hierarchy.MaxName)]
	})
}

func anyRef() *rapid.Generator[hierarchy.Ref] {
	return rapid.Custom(func(t *rapid.T) hierarchy.Ref {
		r := hierarchy.Ref{Kind: hierarchy.Kind(rapid.IntRange(int(hierarchy.KindSystem), int(hierarchy.KindEntityResource)).Draw(t, "kind"))}
		if r.Kind.OfEntity() || r.Kind.OfTier() {
			r.Name = anyName().Draw(t, "name")
		}
		if r.Kind.OfResource() {
			r.Resource = anyName().Draw(t, "resource")
		}
		return r
	})
}

func anyItem() *rapid.Generator[hierarchy.Item] {
	return rapid.Custom(func(t *rapid.T) hierarchy.Item {
		i := hierarchy.Item{
			Ref: anyRef().Draw(t, "ref"), Revision: rapid.Int64Min(1).Draw(t, "revision"), Deleted: rapid.Bool().Draw(t, "deleted"),
			UpdatedAt: time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "at")).UTC(),
			Manager:   rapid.String().Draw(t, "manager"),
			Level: hierarchy.Level{
				Mode:          ratelimit.Mode(rapid.IntRange(0, int(ratelimit.ModeBypass)).Draw(t, "mode")),
				OnUnavailable: ratelimit.Fallback(rapid.IntRange(0, int(ratelimit.FallbackLocal)).Draw(t, "fallback")),
			},
			Profile: hierarchy.Profile{
				DisplayName: rapid.String().Draw(t, "display"), Cascade: rapid.Bool().Draw(t, "cascade"),
				Metadata: rapid.MapOf(rapid.StringN(1, -1, -1), rapid.String()).Draw(t, "metadata"),
			},
		}
		if rapid.Bool().Draw(t, "child") {
			i.Profile.Parent, i.Profile.Tier = anyName().Draw(t, "parent"), anyName().Draw(t, "tier")
		}
		for range rapid.IntRange(0, 3).Draw(t, "limits") {
			i.Level.Limits = append(i.Level.Limits, ratelimit.Custom("rpm",
				rapid.Int64Range(1, 1e6).Draw(t, "burst"), rapid.Int64Range(1, 1e6).Draw(t, "rate"),
				time.Duration(rapid.Int64Range(1000, 1e6).Draw(t, "ms"))*time.Millisecond))
		}
		return i
	})
}

// TestItemsAreWhole wants every item of the configuration to come back as it
// was, whatever else the item in the table holds.
func TestItemsAreWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyItem().Draw(t, "item")
		it := configAttributes(&want)
		it["later"] = numberValue(1)
		got, err := decodeConfig(want.Ref, it)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		entry, sk, known, err := decodeCatalogue(catalogueItem("id", want.Ref))
		if err != nil || !known || entry != want.Ref || len(sk) > 1024 {
			t.Fatalf("the catalogue has %v as %v, at %q: %v", want.Ref, entry, sk, err)
		}
	})
}

// TestKeysNeverMeet wants two items of a namespace to lie at two keys, also in
// the catalogue, and none where a bucket is.
func TestKeysNeverMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyRef().Draw(t, "a"), anyRef().Draw(t, "b")
		if a == b {
			t.Skip("the same item")
		}
		if keyText(configKey("id", a)) == keyText(configKey("id", b)) {
			t.Fatalf("%v and %v lie at %v", a, b, keyText(configKey("id", a)))
		}
		if keyText(catalogueItem("id", a)) == keyText(catalogueItem("id", b)) {
			t.Fatalf("%v and %v are one in the catalogue, %v", a, b, keyText(catalogueItem("id", a)))
		}
		if sk, _ := textOf(configKey("id", a), attrSK); strings.HasPrefix(sk, "b/") {
			t.Fatalf("%v lies among buckets", a)
		}
	})
}

// TestPrefixesFindAll wants each item that a selector selects to lie behind one
// of its prefixes.
func TestPrefixesFindAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRef().Draw(t, "ref")
		var sel hierarchy.Selector
		if rapid.Bool().Draw(t, "by kind") {
			sel.Kinds = []hierarchy.Kind{hierarchy.KindTier, r.Kind}
		}
		if rapid.Bool().Draw(t, "by name") {
			sel.Name = r.Name
		}
		if rapid.Bool().Draw(t, "by resource") {
			sel.Resource = r.Resource
		}
		if first := r.Name + r.Resource; first != "" && rapid.Bool().Draw(t, "by prefix") {
			sel.Prefix = first[:min(rapid.IntRange(0, len(first)).Draw(t, "length"), max(len(r.Name), len(first)-len(r.Name)))]
			if r.Name != "" {
				sel.Prefix = sel.Prefix[:min(len(sel.Prefix), len(r.Name))]
			}
		}
		if !sel.Selects(r) {
			t.Fatalf("%+v does not select %v", sel, r)
		}
		sk, _ := textOf(catalogueItem("id", r), attrSK)
		all := prefixes(&sel)
		for i, p := range all {
			if i > 0 && all[i-1]+behind >= p {
				t.Fatalf("the prefixes of %+v overlap: %q", sel, all)
			}
			if p <= sk && sk <= p+behind {
				return
			}
		}
		t.Fatalf("%q is behind none of %q", sk, all)
	})
}

func TestUnreadableItems(t *testing.T) {
	text := func(s string) types.AttributeValue { return textValue(s) }
	for attribute, value := range map[string]types.AttributeValue{
		attrRevision:      text("7"),
		attrUpdated:       text("7"),
		attrDeleted:       text("true"),
		attrManager:       numberValue(7),
		attrLimits:        &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberM{Value: item{limitName: text("rpm")}}}},
		attrMode:          text("observe"),
		attrOnUnavailable: text("guess"),
		attrCascade:       numberValue(1),
		attrMetadata:      &types.AttributeValueMemberM{Value: item{"a": numberValue(1)}},
	} {
		it := item{attrRevision: numberValue(1), attribute: value}
		_, err := decodeConfig(hierarchy.EntityRef("acme", ""), it)
		var problem *ConfigItemError
		if !errors.As(err, &problem) || problem.Attribute != attribute {
			t.Errorf("%s: %v", attribute, err)
		}
	}
	if _, err := decodeConfig(hierarchy.SystemRef(), item{attrMode: text("bypass")}); err == nil {
		t.Error("an item without a revision is read")
	}
}
