package zaelimiter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// rows are a table that was written down, one row a page.
type rows []attributes

func (r rows) Scan(_ context.Context, in *dynamodb.ScanInput, _ ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error) {
	at := 0
	if v, ok := in.ExclusiveStartKey["at"].(*types.AttributeValueMemberN); ok {
		at = len(v.Value)
	}
	out := &dynamodb.ScanOutput{Items: []map[string]types.AttributeValue{r[at]}}
	if at+1 < len(r) {
		out.LastEvaluatedKey = attributes{"at": number(strings.Repeat("1", at+1))}
	}
	return out, nil
}

func number(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
func flag(b bool) types.AttributeValue     { return &types.AttributeValueMemberBOOL{Value: b} }

// row makes an item of keys and attributes: of a text that begins with # a
// number, of true and false a flag.
func row(pk, sk string, more ...string) attributes {
	a := attributes{"PK": text(pk), "SK": text(sk)}
	for i := 0; i < len(more); i += 2 {
		switch v := more[i+1]; {
		case strings.HasPrefix(v, "#"):
			a[more[i]] = number(v[1:])
		case v == "true" || v == "false":
			a[more[i]] = flag(v == "true")
		default:
			a[more[i]] = text(v)
		}
	}
	return a
}

// limit is a limit as it is stored, for row.
func limit(name, capacity, amount, period string) []string {
	return []string{"l_" + name + "_cp", "#" + capacity, "l_" + name + "_ra", "#" + amount, "l_" + name + "_rp", "#" + period}
}

const id = "Abc_def-hij"

func registry() rows {
	return rows{
		row("_/SYSTEM#", "#VERSION", "schema_version", "0.10.0"),
		row("_/SYSTEM#", "#NAMESPACE#default", "namespace_id", id, "status", "active"),
		row("_/SYSTEM#", "#NSID#"+id, "namespace_name", "default", "status", "active"),
	}
}

func read(t *testing.T, more ...attributes) *Contents {
	t.Helper()
	c, err := Read(t.Context(), append(registry(), more...), "theirs")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What can't be said here, or isn't whole there, is told, and nothing else is
// lost with it.
func TestLosses(t *testing.T) {
	many := []string{}
	for i := range hierarchy.MaxLimits + 1 {
		many = append(many, limit(fmt.Sprintf("l%02d", i), "1", "1", "1")...)
	}
	long := strings.Repeat("x", hierarchy.MaxName+1)
	meta := row(id+"/ENTITY#m", "#META", "name", long, "cascade", "true")
	meta["metadata"] = &types.AttributeValueMemberM{Value: attributes{
		"text": text("x"), "number": number("1.5"), "yes": flag(true), "no": flag(false), "list": &types.AttributeValueMemberL{},
	}}
	for _, c := range []struct {
		name string
		row  attributes
		want string // of the only loss
	}{
		{"twice", row(id+"/RESOURCE#r", "#CONFIG", append(limit("a", "1", "1", "1"), "w_a_cp", "#1")...), `resource "r" | limit a`},
		{"window without length", row(id+"/RESOURCE#r", "#CONFIG", append(limit("a", "1", "1", "1"), "w_b_cp", "#1")...), `resource "r" | limit b`},
		{"no period", row(id+"/RESOURCE#r", "#CONFIG", append(limit("a", "1", "1", "1"), "l_b_cp", "#1", "l_b_ra", "#1")...), `resource "r" | limit b`},
		{"a fraction", row(id+"/RESOURCE#r", "#CONFIG", append(limit("a", "1", "1", "1"), limit("b", "1.5", "1", "1")...)...), `resource "r" | limit b`},
		{"too long a period", row(id+"/RESOURCE#r", "#CONFIG", append(limit("a", "1", "1", "1"), limit("b", "1", "1", "9000000000")...)...), `resource "r" | limit b`},
		{"too fast", row(id+"/RESOURCE#r", "#CONFIG", append(limit("a", "1", "1", "1"), limit("b", "1", "1000000000", "1")...)...), `resource "r" | limit b`},
		{"too many", row(id+"/RESOURCE#r", "#CONFIG", many...), `resource "r" | limit l20`},
		{"retention", row(id+"/SYSTEM#", "#CONFIG", "audit_retention_days", "#30"), "system | audit retention"},
		{"on_unavailable", row(id+"/SYSTEM#", "#CONFIG", "on_unavailable", "shrug"), "system | on_unavailable"},
		{"a manifest", row(id+"/SYSTEM#", "#PROVISIONER"), "system | manifest"},
		{"a long name", row(id+"/RESOURCE#"+long, "#CONFIG", limit("a", "1", "1", "1")...), fmt.Sprintf("resource %q | name", long)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := lines(read(t, c.row))
			if diff := cmp.Diff([]string{"default | " + c.want}, got[:1]); diff != "" {
				t.Error(diff)
			}
			// A level that has lost all its limits says so.
			if len(got) > 1 && (len(got) > 2 || !strings.HasSuffix(got[1], "| limit")) {
				t.Errorf("more is lost: %q", got)
			}
		})
	}
	c := read(t, meta)
	if diff := cmp.Diff([]string{`default | entity "m" | display name`, `default | entity "m" | metadata`}, lines(c)); diff != "" {
		t.Error(diff)
	}
	want := hierarchy.Entity{Cascade: true, Metadata: map[string]string{"text": "x", "number": "1.5", "yes": "true", "no": "false"}}
	if diff := cmp.Diff(want, c.Namespaces[0].Document.Entities["m"]); diff != "" {
		t.Error(diff)
	}
}

// A level keeps what can be said of it.
func TestWhatIsLeft(t *testing.T) {
	c := read(t,
		row(id+"/RESOURCE#r", "#CONFIG", append(limit("a", "5", "2", "60"), "w_b_cp", "#1", "w_b_rsa", "#60", "disabled", "true")...),
		row(id+"/SYSTEM#", "#CONFIG", "on_unavailable", "block"),
		row("Other_names", "#CONFIG", limit("a", "1", "1", "1")...),
		row("gone/SYSTEM#", "#CONFIG", limit("a", "1", "1", "1")...),
	)
	want := hierarchy.Document{
		System:    hierarchy.Level{OnUnavailable: ratelimit.FallbackDeny},
		Resources: map[string]hierarchy.Level{"r": {Mode: ratelimit.ModeDisabled, Limits: []ratelimit.Limit{ratelimit.PerMinute("a", 2).WithBurst(5)}}},
		Entities:  map[string]hierarchy.Entity{},
	}
	if diff := cmp.Diff(want, c.Namespaces[0].Document); diff != "" {
		t.Error(diff)
	}
}

// Lines of parents that can't be here are cut, each where it is too long, and
// what is left can be written.
func TestParents(t *testing.T) {
	all := rows{
		row(id+"/ENTITY#a", "#META", "parent_id", "b", "cascade", "true"),
		row(id+"/ENTITY#b", "#META", "parent_id", "a", "cascade", "true"),
	}
	for i := range hierarchy.MaxParents + 2 {
		all = append(all, row(fmt.Sprint(id, "/ENTITY#", i), "#META", "parent_id", fmt.Sprint(i+1)))
	}
	c := read(t, all...)
	want := []string{
		`default | entity "0" | parent`, `default | entity "1" | parent`,
		`default | entity "a" | parent`, `default | entity "b" | parent`,
	}
	if diff := cmp.Diff(want, lines(c)); diff != "" {
		t.Error(diff)
	}
	bring(t, newStore(t), c, false)
}

func newStore(t *testing.T) *embedstore.Store {
	t.Helper()
	return embedstore.New(embedstore.Config{})
}

// What has changed there is brought again, and what is gone there goes here;
// what others have made here stays.
func TestAgain(t *testing.T) {
	s := newStore(t)
	by := hierarchy.Cause{By: hierarchy.Actor{Caller: "test"}, At: time.Now()}
	first := rows{
		row(id+"/RESOURCE#r", "#CONFIG", limit("a", "1", "1", "60")...),
		row(id+"/ENTITY#e", "#CONFIG#r", limit("a", "1", "1", "60")...),
	}
	bring(t, s, read(t, first...), false)
	bring(t, s, read(t, first...), true)
	mine := hierarchy.ResourceRef("mine")
	if _, err := hierarchy.Update(t.Context(), s, "default", by, "test", []hierarchy.Ref{mine}, func(i []hierarchy.Item) error {
		i[0].Deleted, i[0].Level = false, hierarchy.Level{Mode: ratelimit.ModeBypass}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	second := rows{row(id+"/RESOURCE#r", "#CONFIG", limit("a", "2", "2", "60")...)}
	bring(t, s, read(t, second...), false)
	bring(t, s, read(t, second...), true)
	d, err := hierarchy.Export(t.Context(), s, "default", "")
	if err != nil {
		t.Fatal(err)
	}
	want := hierarchy.Document{
		Resources: map[string]hierarchy.Level{"r": {Limits: []ratelimit.Limit{ratelimit.PerMinute("a", 2)}}, "mine": {Mode: ratelimit.ModeBypass}},
		Tiers:     map[string]hierarchy.Tier{}, Entities: map[string]hierarchy.Entity{},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

// One namespace can be brought under another name, and one manager's items
// aren't taken from another.
func TestNames(t *testing.T) {
	s := newStore(t)
	more := rows{
		row("_/SYSTEM#", "#NAMESPACE#a b", "namespace_id", "x", "status", "active"),
		row("x/RESOURCE#r", "#CONFIG", limit("a", "1", "1", "60")...),
	}
	c := read(t, more...)
	planned, err := c.Plan(t.Context(), s, Options{From: "a b", Into: "ab"})
	if err != nil || len(planned) != 1 || planned[0].Into != "ab" || len(planned[0].Plan.Steps) != 1 || !planned[0].New {
		t.Fatalf("%+v, %v", planned, err)
	}
	if _, err := planned[0].Apply(t.Context(), s, hierarchy.Cause{By: hierarchy.Actor{Caller: "test"}, At: time.Now()}, nil); err != nil {
		t.Fatal(err)
	}
	c = read(t, more...)
	c.Table = "another"
	if planned, err = c.Plan(t.Context(), s, Options{From: "a b", Into: "ab"}); err != nil || len(planned[0].Plan.Conflicts) != 1 {
		t.Errorf("from another table: %+v, %v", planned, err)
	}
	var none *NameError
	if _, err := read(t, more...).Plan(t.Context(), s, Options{From: "nobody"}); !errors.As(err, &none) {
		t.Errorf("of a namespace that isn't there: %v", err)
	}
}

// A table that isn't zae-limiter's is refused; another version is told of.
func TestOtherTables(t *testing.T) {
	var bad *TableError
	if _, err := Read(t.Context(), rows{row("1/SYSTEM#", "#CONFIG")}, "t"); !errors.As(err, &bad) || bad.Hint == "" {
		t.Errorf("another program's table: %v", err)
	}
	c := read(t, row("_/SYSTEM#", "#VERSION", "schema_version", "0.11.0"))
	if diff := cmp.Diff([]string{" | namespace | schema"}, lines(c)); diff != "" {
		t.Error(diff)
	}
	w := newTables(t)
	if _, err := Read(t.Context(), w.source(t), w.from); !errors.As(err, &bad) || !strings.Contains(bad.Error(), "does not exist") {
		t.Errorf("no table: %v", err)
	}
}
