package zaelimiter

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// said is what the original says of a namespace.
type said struct {
	OnUnavailable string   `json:"on_unavailable"`
	Answers       []answer `json:"answers"`
}

// answer is what the original resolves for an entity and a resource.
type answer struct {
	Entity   string `json:"entity"`
	Resource string `json:"resource"`
	Level    string `json:"level"`
	Limits   []struct {
		Name     string `json:"name"`
		Capacity int64  `json:"capacity"`
		Amount   int64  `json:"refill_amount"`
		Period   int64  `json:"refill_period_seconds"`
	} `json:"limits"`
	Mode      string            `json:"mode"`
	ModeLevel string            `json:"mode_level"`
	Parent    string            `json:"parent"` // that a charge cascades to
	Metadata  map[string]string `json:"metadata"`
}

// resolved is an answer in the words of both.
type resolved struct {
	Level, Mode string
	Limits      []string
	Parents     []string
	Metadata    map[string]string
}

// known are the answers that aren't those of the original, and can't be: each
// is among the losses that an import tells.
func known() map[string]func(*resolved) {
	return map[string]func(*resolved){
		// Quotas and soft limits are left out.
		"default quotas api": func(r *resolved) { r.Limits = []string{"rpm:8/min"} },
		// A level of nothing else is left without limits.
		"default quotas gpt-4": func(r *resolved) {
			r.Level, r.Limits = "resource", []string{"daily.cap:5000/day", "rpm:50/min"}
		},
		// A cascade for one resource alone.
		"default cascade-by-resource api": func(r *resolved) { r.Parents = nil },
	}
}

// parents are those that a charge cascades to here: each by its own levels
// alone, and on to its parent's parent. The original takes the resource's and
// the system's level for the nearest, and ends with it.
func parents(of map[[2]string]answer, a answer) []string {
	own := func(level string) bool { return level == "entity" || level == "entity_default" }
	var all []string
	for at := a; at.Parent != ""; {
		at = of[[2]string{at.Parent, a.Resource}]
		if own(at.Level) || own(at.ModeLevel) && at.Mode == "disabled" {
			all = append(all, at.Entity)
		}
	}
	return all
}

func (a answer) resolved(of map[[2]string]answer) resolved {
	levels := map[string]ratelimit.Level{
		"entity": ratelimit.LevelEntityResource, "entity_default": ratelimit.LevelEntity,
		"resource": ratelimit.LevelResource, "system": ratelimit.LevelSystem, "none": ratelimit.LevelNone,
	}
	r := resolved{Level: levels[a.Level].String(), Mode: a.Mode, Parents: parents(of, a), Metadata: a.Metadata}
	for _, l := range a.Limits {
		r.Limits = append(r.Limits, ratelimit.Custom(l.Name, l.Capacity, l.Amount, time.Duration(l.Period)*time.Second).String())
	}
	slices.Sort(r.Limits)
	return r
}

func ours(res *ratelimit.Resolution) resolved {
	r := resolved{Level: ratelimit.LevelNone.String(), Mode: "on", Metadata: res.Metadata}
	for i, t := range res.Targets {
		if i > 0 {
			r.Parents = append(r.Parents, t.Key.Entity())
			continue
		}
		r.Level = t.Level.String()
		if t.Mode != ratelimit.ModeUnset {
			r.Mode = t.Mode.String()
		}
		for _, l := range t.Limits {
			r.Limits = append(r.Limits, l.String())
		}
	}
	slices.Sort(r.Limits)
	return r
}

// A table that the original has made is imported, and every entity and resource
// resolves here as the original resolves it. A second import writes nothing.
func TestAsTheOriginal(t *testing.T) {
	w := newTables(t)
	spaces := original(t, w.url, w.from)
	contents, err := Read(t.Context(), w.source(t), w.from)
	if err != nil {
		t.Fatal(err)
	}
	bring(t, w.store, contents, false)
	cache := hierarchy.NewCache(hierarchy.CacheConfig{Source: w.store, Timeout: 30 * time.Second})
	defer cache.Close()
	differences := known()
	for name, s := range spaces {
		of := map[[2]string]answer{}
		for _, a := range s.Answers {
			of[[2]string{a.Entity, a.Resource}] = a
		}
		resolver := cache.Resolver(name, hierarchy.Document{})
		for _, a := range s.Answers {
			key, err := ratelimit.NewKey(name, a.Entity, a.Resource, "")
			if err != nil {
				t.Fatal(err)
			}
			res, err := resolver.Resolve(t.Context(), ratelimit.Query{Key: key})
			if err != nil {
				t.Fatal(err)
			}
			want, place := a.resolved(of), fmt.Sprint(name, " ", a.Entity, " ", a.Resource)
			if differ := differences[place]; differ != nil {
				before := want
				if differ(&want); cmp.Equal(before, want, cmpopts.EquateEmpty()) {
					t.Errorf("%s is no known difference", place)
				}
				delete(differences, place)
			}
			if diff := cmp.Diff(want, ours(&res), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (- theirs, + ours):\n%s", place, diff)
			}
			// Where it isn't said, the original blocks, and this is as configured.
			fallback := map[string]ratelimit.Fallback{"default": ratelimit.FallbackAllow}[name]
			if res.OnUnavailable != fallback {
				t.Errorf("%s: on_unavailable is %q, theirs %q", place, res.OnUnavailable, s.OnUnavailable)
			}
		}
	}
	for place := range differences {
		t.Errorf("nothing was asked of %s", place)
	}
	if diff := cmp.Diff(told(), lines(contents)); diff != "" {
		t.Errorf("what is told to be lost (- wanted):\n%s", diff)
	}
	again, err := Read(t.Context(), w.source(t), w.from)
	if err != nil {
		t.Fatal(err)
	}
	bring(t, w.store, again, true)
}

// original has the original make a table, and returns what it says of it.
func original(t *testing.T, url, table string) map[string]said {
	t.Helper()
	tools := os.Getenv("EXTAUTHZ_TOOLS")
	if tools == "" {
		tools = filepath.Join("..", "..", ".tools")
	}
	modules, err := filepath.Abs(filepath.Join(tools, "zaelimiter"))
	if err == nil {
		_, err = os.Stat(modules)
	}
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Skipf("zae-limiter isn't there: run `make tools` (%v)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	python := exec.CommandContext(t.Context(), "python3", "-W", "ignore", "testdata/original.py", url, table)
	python.Env = append(os.Environ(), "PYTHONPATH="+modules, "PYTHONDONTWRITEBYTECODE=1")
	var stdout, stderr bytes.Buffer
	python.Stdout, python.Stderr = &stdout, &stderr
	if err := python.Run(); err != nil {
		t.Fatalf("the original: %v\n%s", err, stderr.String())
	}
	var spaces map[string]said
	if err := json.Unmarshal(stdout.Bytes(), &spaces); err != nil {
		t.Fatalf("%v\n%s", err, stdout.String())
	}
	return spaces
}

// tables are a table to read and a store to write to, on one local DynamoDB.
type tables struct {
	url, from string
	store     *dynamostore.Store
}

func newTables(t *testing.T) *tables {
	t.Helper()
	var local ddblocal.Shared
	w := &tables{url: local.URL(t), from: "zae-" + strings.ToLower(rand.Text())}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1",
	} {
		t.Setenv(name, value)
	}
	aws, err := dynamostore.LoadAWS(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.store, err = dynamostore.Open(t.Context(), dynamostore.Config{
		AWS: aws, Table: "extauthz-" + w.from, EndpointURL: w.url, Create: true, KeepWarm: -1, Register: []string{}, Timeout: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *tables) source(t *testing.T) Table {
	t.Helper()
	s, err := Open(t.Context(), Source{Table: w.from, EndpointURL: w.url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bring imports all of a table; done says that nothing is left to do.
func bring(t *testing.T, s Store, c *Contents, done bool) {
	t.Helper()
	planned, err := c.Plan(t.Context(), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(planned) == 0 {
		t.Error("there is nothing to import")
	}
	for _, p := range planned {
		if len(p.Plan.Conflicts) > 0 {
			t.Errorf("%s: conflicts: %v", p.Into, p.Plan.Conflicts)
		}
		if done && (p.New || len(p.Plan.Steps) > 0) {
			t.Errorf("%s: new %v, and to be done again: %v", p.Into, p.New, p.Plan.Steps)
		}
		n, err := p.Apply(t.Context(), s, hierarchy.Cause{By: hierarchy.Actor{Caller: "test"}, At: time.Now()}, nil)
		if err != nil || n != len(p.Plan.Steps) {
			t.Errorf("%s: %d of %d done: %v", p.Into, n, len(p.Plan.Steps), err)
		}
	}
}

// lines are the losses as lines.
func lines(c *Contents) []string {
	var all []string
	for _, l := range c.AllLosses() {
		limit := ""
		if l.Limit != "" {
			limit = " " + l.Limit
		}
		all = append(all, fmt.Sprintf("%s | %s | %s%s", l.Namespace, l.Target, l.Feature, limit))
	}
	return all
}

// told are the losses of the table that testdata/original.py makes.
func told() []string {
	return []string{
		`gone | namespace | namespace`,
		`default | resource "scheduled" | schedule rph`,
		`default | entity "team" | cascade`,
		`default | entity "user-1" | cascade`,
		`default | entity default "switched" | parent`,
		`default | entity default "team" | parent`,
		`default | entity+resource "cascade-by-resource" "api" | cascade`,
		`default | entity+resource "quotas" "api" | quota daily`,
		`default | entity+resource "quotas" "api" | quota session`,
		`default | entity+resource "quotas" "api" | soft limit soft`,
		`default | entity+resource "quotas" "gpt-4" | limit`,
		`default | entity+resource "quotas" "gpt-4" | quota daily`,
		`with space | namespace | namespace`,
	}
}
