package config_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// What is written is read as it was, whatever the names are.
func TestManifestIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := hierarchy.Manifest{Manager: name().Draw(t, "manager"), Document: document(t)}
		var b bytes.Buffer
		leftOut, err := config.WriteManifest(&b, want)
		if err != nil || len(leftOut) > 0 {
			t.Fatalf("WriteManifest: %q, %v", leftOut, err)
		}
		got, report := config.ParseManifest("x.yaml", b.Bytes())
		if err := report.Err(); err != nil {
			t.Fatalf("%s\n%s", report, b.String())
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\n%s", diff, b.String())
		}
	})
}

func name() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"true", "010", "null", "~", "a: b", "#", "- x", "it's", `"`, "a\nb", "gpt-4.Turbo", "é/ü", "!tag", "&a", "*a", "1e3", "0x1", "\t", " ", "a\x00b", strings.Repeat("long ", 50)}),
		rapid.StringMatching(`[a-z][a-z0-9 :#'"-]{0,8}`),
	)
}

func document(t *rapid.T) hierarchy.Document {
	level := rapid.Custom(func(t *rapid.T) hierarchy.Level {
		var l hierarchy.Level
		for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"rpm", "tpm", "on", "y"}), 0, 3, rapid.ID).Draw(t, "limits") {
			rate := rapid.Int64Range(1, 1e6).Draw(t, "rate")
			period := time.Duration(rapid.IntRange(1, 100000).Draw(t, "period")) * time.Second
			l.Limits = append(l.Limits, ratelimit.Custom(n, rapid.Int64Range(1, 1000).Draw(t, "burst"), rate, period))
		}
		l.Mode = rapid.SampledFrom([]ratelimit.Mode{ratelimit.ModeUnset, ratelimit.ModeOn, ratelimit.ModeDisabled, ratelimit.ModeBypass}).Draw(t, "mode")
		return l
	})
	levels := rapid.MapOfN(name(), level, 0, 3)
	d := hierarchy.Document{System: level.Draw(t, "system"), Resources: levels.Draw(t, "resources")}
	d.System.OnUnavailable = rapid.SampledFrom([]ratelimit.Fallback{ratelimit.FallbackUnset, ratelimit.FallbackLocal}).Draw(t, "fallback")
	d.Tiers = rapid.MapOfN(name(), rapid.Custom(func(t *rapid.T) hierarchy.Tier {
		return hierarchy.Tier{Level: level.Draw(t, "tier"), Resources: levels.Draw(t, "resources")}
	}), 0, 2).Draw(t, "tiers")
	d.Entities = rapid.MapOfN(name(), rapid.Custom(func(t *rapid.T) hierarchy.Entity {
		return hierarchy.Entity{
			Level: level.Draw(t, "level"), Resources: levels.Draw(t, "resources"), Tier: name().Draw(t, "tier"),
			DisplayName: name().Draw(t, "display name"), Metadata: rapid.MapOfN(name(), name(), 0, 2).Draw(t, "metadata"),
		}
	}), 0, 3).Draw(t, "entities")
	return d
}

func TestManifestFaults(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "must be a mapping"},
		{"- a", "must be a mapping"},
		{"system: {limits: {rpm: 1/min}}", "the manifest has no manager"},
		{"manager: ''", `"manager" is empty`},
		{"manager: ci\nsyste: {}", `did you mean "system"?`},
		{"manager: ci\nsystem: {limits: {rpm: ten}}", "x.yaml:2:24: "},
		{"manager: ci\nentities: {a: {parent: a}}", "parents go round in a circle"},
		{"manager: ci\nlimits: {}", `unknown key "limits" in the manifest`},
	} {
		m, report := config.ParseManifest("x.yaml", []byte(c.text))
		if report.Err() == nil || !strings.Contains(report.String(), c.want) || m.Manager != "" {
			t.Errorf("%q: %s, want %s", c.text, report, c.want)
		}
	}
}

// YAML has no form for every name.
func TestManifestLeavesOut(t *testing.T) {
	m := hierarchy.Manifest{Manager: "ci", Document: hierarchy.Document{Entities: map[string]hierarchy.Entity{"a\xff": {}, "b": {}}}}
	var b bytes.Buffer
	leftOut, err := config.WriteManifest(&b, m)
	if err != nil || cmp.Diff([]string{"a\xff"}, leftOut) != "" || b.String() != "manager: ci\nentities:\n  b: {}\n" {
		t.Errorf("%q, %v\n%s", leftOut, err, b.String())
	}
}
