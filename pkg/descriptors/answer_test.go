package descriptors

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAllowHeaders(t *testing.T) {
	rules := compile(t,
		rule("api", "match", `request.url_path == "/"`, "entity", "e",
			"on_allow.x-tier", "${entity.tier}", "on_allow.x-crm", "${entity.metadata.crm}", "on_allow.x-path", "at ${request.headers.x}"),
		rule("plain", "entity", "e"),
		rule("public", "action", "allow", "match", "false", "on_allow.x-tier", "none"))
	if diff := cmp.Diff([]string{"x-crm", "x-path", "x-tier"}, rules.RoutingHeaders()); diff != "" {
		t.Errorf("routing headers (-want +got):\n%s", diff)
	}
	api := rules.All()[0]
	entity := EntityInfo{ID: "acme", Tier: "gold", Metadata: map[string]string{"crm": "42"}}
	for _, c := range []struct {
		name   string
		header string
		entity EntityInfo
		want   []HeaderAnswer
	}{
		{"all", "y", entity, []HeaderAnswer{{Name: "x-tier", Value: "gold"}, {Name: "x-crm", Value: "42"}, {Name: "x-path", Value: "at y"}}},
		{"missing", "", EntityInfo{}, []HeaderAnswer{{Name: "x-tier", Remove: true}, {Name: "x-crm", Remove: true}, {Name: "x-path", Remove: true}}},
		{"another header", "a\r\nx-tier: evil", entity, []HeaderAnswer{{Name: "x-tier", Value: "gold"}, {Name: "x-crm", Value: "42"}, {Name: "x-path", Remove: true}}},
		{"not UTF-8", "a\xff", entity, []HeaderAnswer{{Name: "x-tier", Value: "gold"}, {Name: "x-crm", Value: "42"}, {Name: "x-path", Remove: true}}},
		{"long", strings.Repeat("a", 40_000), entity, []HeaderAnswer{{Name: "x-tier", Value: "gold"}, {Name: "x-crm", Value: "42"}, {Name: "x-path", Remove: true}}},
	} {
		got := api.AllowHeaders(check("GET", "/", "x", c.header), c.entity)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if got := rules.All()[1].AllowHeaders(check("GET", "/"), entity); got != nil {
		t.Errorf("a rule without on_allow sets %v", got)
	}
}

func TestDenial(t *testing.T) {
	const hostile = "a\"}\r\n<b>\xff"
	entity := EntityInfo{ID: "acme"}
	for _, c := range []struct {
		name  string
		pairs []string
		want  *DenialAnswer
	}{
		{"none", nil, nil},
		{
			"all",
			[]string{"on_deny.status", "503", "on_deny.body", `{"error":"slow down"}`, "on_deny.content_type", "application/json", "on_deny.x-a", "b"},
			&DenialAnswer{Status: 503, Body: `{"error":"slow down"}`, ContentType: "application/json", Headers: []HeaderAnswer{{Name: "x-a", Value: "b"}}},
		},
		{
			"json",
			[]string{"on_deny.body", `{"who":"${entity.id}","x":"${request.headers.x}"}`, "on_deny.content_type", "application/json"},
			&DenialAnswer{Body: `{"who":"acme","x":"a\"}\r\n\u003cb\u003e` + "\uFFFD" + `"}`, ContentType: "application/json"},
		},
		{
			"html",
			[]string{"on_deny.body", `<p>${request.headers.x}</p>`, "on_deny.content_type", "text/html"},
			&DenialAnswer{Body: "<p>a&#34;}\r\n&lt;b&gt;\uFFFD</p>", ContentType: "text/html"},
		},
		{
			"missing",
			[]string{"on_deny.body", `${entity.tier}!`, "on_deny.content_type", "text/x", "on_deny.x-a", "${entity.tier}"},
			&DenialAnswer{Headers: []HeaderAnswer{{Name: "x-a", Remove: true}}},
		},
	} {
		r := compile(t, rule("r", append(c.pairs, "entity", "e")...)).All()[0]
		if diff := cmp.Diff(c.want, r.Denial(check("GET", "/", "x", hostile), entity)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
