package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/pkg/ratelimit"
	used "github.com/extauthz/extauthz/pkg/usage"
)

// usageTable is a table with usage, as the aggregator writes it, in two
// namespaces; flags name it.
func usageTable(t *testing.T) (url, table string, flags []string) {
	t.Helper()
	store, flags := localTable(t)
	table, url = flags[1], flags[3]
	register(t, store)
	ns, err := store.Namespace(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	put := func(pk, sk, more string) {
		dynamoDB(t, url, "PutItem", fmt.Sprintf(`{"TableName": "TABLE", "Item": {"PK": {"S": %q}, "SK": {"S": %q}, "ttl": {"N": "4000000000"}%s}}`, pk, sk, more), table)
	}
	for _, u := range []struct{ entity, hour, bucket, growths string }{
		{"user-123", "2026-11-30T09", "gpt-4", `"1/1": {"S": "rpm/0-7000/0-1000/0"}, "1/2": {"S": "tpm/0-900000//250000"}`},
		{"user-123", "2026-11-30T23", "gpt-4", `"1/1": {"S": "rpm/7000-9000//0"}`},
		{"user-123", "2026-12-01T00", "gpt-4", `"1/1": {"S": "rpm/9000-10000,12000-14000/1000-9000/0"}`},
		{"user-123", "2026-12-01T00", "gpt-4/shadow:strict", `"1/1": {"S": "rpm/0-100000//0"}`},
		{"=HYPERLINK(1)", "2026-11-30T10", "@r", `"1/1": {"S": "rpm/0-5000//0"}`},
		{"%1B[2Jx", "2026-11-30T10", "r", `"1/1": {"S": "rpm/0-3000//0"}`},
	} {
		entity := strings.ReplaceAll(ratelimit.EntityID(u.entity), "%251B", "%1B")
		put(ns.ID+"/u/"+entity, u.hour+"/"+strings.ReplaceAll(ratelimit.ResourceID(u.bucket), "%2F", "/"), `, "n": {"N": "1"}, "used": {"M": {`+u.growths+`}}`)
		put(ns.ID+"/d/"+u.hour[:10]+"/0", entity, "")
	}
	return url, table, flags
}

// The commands that show usage, as a user types them.
func TestUsageScripts(t *testing.T) {
	url, table, _ := usageTable(t)
	runScripts(t, testscript.Params{
		Dir: "testdata/usage",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "EXTAUTHZ_STACK="+table, "EXTAUTHZ_ENDPOINT_URL="+url,
				"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
			return nil
		},
	})
}

// What is printed as JSON of usage is what is documented.
func TestUsageJSONIsAsDocumented(t *testing.T) {
	_, _, flags := usageTable(t)
	sections := documented(t)
	for section, line := range map[string]string{
		"usage":         "usage list --window day --start 2026-11-30 --end 2026-12-02",
		"usage summary": "usage summary --start 2026-11-30 --end 2026-12-02",
		"usage plot":    "usage plot --window day --start 2026-11-30 --end 2026-12-02",
	} {
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), append(append(strings.Fields(line), "-o", "json"), flags...), nil, &stdout, &stderr); got != exitOK {
			t.Fatalf("%s: %d\n%s", line, got, stderr.String())
		}
		var v any
		if err := json.Unmarshal(stdout.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		printed := map[string]bool{}
		paths(v, "", printed)
		compare(t, line, sections[section], printed)
		for field := range sections[section] {
			found := false
			for p := range maps.Keys(printed) {
				found = found || covers(field, p)
			}
			if !found {
				t.Errorf("%s: nothing has printed %s", section, field)
			}
		}
	}
}

func TestUsageQuestions(t *testing.T) {
	now := time.Date(2026, 11, 25, 10, 30, 0, 0, time.UTC)
	for _, c := range []struct{ window, start, end, from, to string }{
		{"hour", "", "", "2026-11-24T11", "2026-11-25T11"},
		{"day", "", "", "2026-11-02T00", "2026-11-26T00"},
		{"month", "", "", "2024-12-01T00", "2026-12-01T00"},
		{"day", "2026-11-01", "2026-12-01", "2026-11-01T00", "2026-12-01T00"},
		{"day", "2026-11-01T07", "2026-11-30T00:00:01Z", "2026-11-01T00", "2026-12-01T00"},
		{"hour", "2026-11-25T09:59:59Z", "2026-11-25T10:00:01+00:00", "2026-11-25T09", "2026-11-25T11"},
		{"month", "2026-02", "2026-03", "2026-02-01T00", "2026-03-01T00"},
	} {
		var q admin.UsageQuestion
		err := askUsage(&q, c.window, c.start, c.end, now)
		if got := [2]string{q.From.String(), q.To.String()}; err != nil || got != [2]string{c.from, c.to} {
			t.Errorf("%+v: %v (%v)", c, got, err)
		}
	}
	for _, c := range [][3]string{{"week", "", ""}, {"day", "yesterday", ""}, {"day", "", "25.11.2026"}, {"hour", "2026-11-25T11", "2026-11-25T11"}, {"day", "2020-01", "2026-01"}} {
		if err := askUsage(&admin.UsageQuestion{}, c[0], c[1], c[2], now); err == nil {
			t.Errorf("%v is understood", c)
		}
	}
}

// A spreadsheet computes nothing of what clients chose, and reads back what it was.
func TestCSVIsSafe(t *testing.T) {
	for field, want := range map[string]string{
		"user": "user", "": "", "-5": "-5", "12": "12",
		"=1+1": "'=1+1", "+1": "'+1", "-1+1": "'-1+1", "-": "'-", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1", "＝1": "'＝1",
	} {
		if got := csvField(field); got != want {
			t.Errorf("%q is %q, want %q", field, got, want)
		}
	}
	var out bytes.Buffer
	c := newUsageList()
	c.SetOut(&out)
	w := &work{c: c, form: asCSV}
	if err := w.rows(nil, [][]string{{"A", "B"}, {"=cmd|' /C calc'!A0,\"x\"", "7"}}); err != nil {
		t.Fatal(err)
	}
	back, err := csv.NewReader(&out).ReadAll()
	if diff := cmp.Diff([][]string{{"A", "B"}, {"'=cmd|' /C calc'!A0,\"x\"", "7"}}, back); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestChartOfOneWindow(t *testing.T) {
	h := used.HourOf(time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC))
	q := &admin.UsageQuestion{From: h, To: h + 1}
	got := chart(&admin.UsageSeries{Limit: "rpm", Admitted: []int64{0}}, q, 40)
	if !strings.Contains(got, "rpm admitted each hour") {
		t.Error(got)
	}
}
