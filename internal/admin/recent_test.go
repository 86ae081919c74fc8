package admin

import (
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/recent"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// remembering serves the admin API of a world that remembers what it decides.
func remembering(t *testing.T) (*world, *decision.Decider, *Client) {
	t.Helper()
	w := newWorld(t)
	recorder := recent.New(func() time.Time { return w.limiter.Now() })
	s := httptest.NewServer(Handler(Config{Explainer: w.explainer, Recent: recorder, Level: w.level}))
	t.Cleanup(s.Close)
	return w, decision.New(w.limiter, recorder), NewClient(s.URL)
}

func (w *world) decide(t *testing.T, d *decision.Decider, user string, hits uint64) decision.Verdict {
	t.Helper()
	q := chat(user)
	q.Descriptors[0].Hits = &hits
	reqs, err := q.requests()
	if err != nil {
		t.Fatal(err)
	}
	return d.Decide(t.Context(), w.policy, reqs).Verdict
}

// odd is a name that is no text.
const odd = "a/\xff\r\n b"

// denied has calls denied, and tells of them over HTTP.
func denied(t *testing.T) (*world, *Client, *Denials) {
	t.Helper()
	w, decider, client := remembering(t)
	for _, user := range []string{"alice", "banned", odd} {
		if v := w.decide(t, decider, user, 5000); (user == odd) != (v == decision.Allow) {
			t.Fatalf("%q: %v", user, v) // of tpm, the odd one has no limit
		}
	}
	for range 10 {
		w.decide(t, decider, odd, 1)
	}
	decider.Wait() // for shadows
	all, err := client.Denials(t.Context(), DenialsQuestion{})
	if err != nil || all.Next != "" {
		t.Fatalf("%+v, %v", all, err)
	}
	return w, client, all
}

func TestDenialsOverHTTP(t *testing.T) {
	w, _, all := denied(t)
	by := map[hierarchy.Text]Denial{}
	for _, d := range all.Items {
		if !d.Shadow {
			by[d.Entity] = d
		}
	}
	at := w.limiter.Now().UTC()
	want := map[hierarchy.Text]Denial{
		"alice": {
			At: at, Protocol: "ratelimit", Rule: "chat", Reason: "never", Source: "store", Namespace: "default", Entity: "alice", Resource: "gpt-4",
			Limit: &DeniedLimit{Name: "tpm", Rate: 1000, PeriodSeconds: 60, Burst: 1000, Cost: 5000, Text: "1000/min"},
		},
		"banned": {At: at, Protocol: "ratelimit", Rule: "chat", Reason: "disabled", Source: "store", Namespace: "default", Entity: "banned", Resource: "gpt-4"},
		// It is charged after everyone is, in one decision.
		"everyone": {
			At: at, Protocol: "ratelimit", Rule: "everyone", Reason: "exceeded", Source: "store", Namespace: "default", Entity: "everyone", Resource: "gpt-4",
			Limit:             &DeniedLimit{Name: "rpm", Rate: 10, PeriodSeconds: 60, Burst: 10, Cost: 1, Text: "10/min"},
			RetryAfterSeconds: 6,
		},
	}
	if diff := cmp.Diff(want, by); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// They are told by name, of any bytes, and in parts.
func TestDenialsAreSelected(t *testing.T) {
	_, client, all := denied(t)
	of := func(q DenialsQuestion) *Denials {
		d, err := client.Denials(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := of(DenialsQuestion{Entity: odd}); len(d.Items) == 0 || d.Items[0].Entity != odd || !d.Items[0].Shadow {
		t.Errorf("of the odd name: %+v", d.Items)
	}
	for _, q := range []DenialsQuestion{{Entity: "alice", Rule: "everyone"}, {Namespace: "other"}, {Resource: "other"}} {
		if d := of(q); len(d.Items) != 0 {
			t.Errorf("%+v: %+v", q, d.Items)
		}
	}
	var parts []Denial
	for page := (hierarchy.Page{Limit: 2}); ; {
		d := of(DenialsQuestion{Page: page})
		parts = append(parts, d.Items...)
		if page.After = d.Next; page.After == "" {
			break
		}
	}
	if diff := cmp.Diff(all.Items, parts); diff != "" {
		t.Errorf("all and their parts:\n%s", diff)
	}
	var p *Problem
	if _, err := client.Denials(t.Context(), DenialsQuestion{Page: hierarchy.Page{After: "x"}}); !errors.As(err, &p) || p.Code != codeInvalidQuery {
		t.Errorf("after nonsense: %v", err)
	}
}

func TestTopOverHTTP(t *testing.T) {
	w, decider, client := remembering(t)
	w.decide(t, decider, "alice", 300)
	w.decide(t, decider, "alice", 5000)
	top, err := client.Top(t.Context(), TopQuestion{By: recent.ByConsumption, Namespace: "default", Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := &Top{By: "consumption", Since: w.limiter.Now().UTC(), List: NewList([]Rank{
		{"rpm", "default", "alice", 1, 1}, {"rpm", "default", "everyone", 1, 1}, {"tpm", "default", "alice", 300, 300},
	}, "")}
	if diff := cmp.Diff(want, top); diff != "" {
		t.Errorf("by consumption (-want +got):\n%s", diff)
	}
	top, err = client.Top(t.Context(), TopQuestion{By: recent.ByDenials})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Rank{{"", "default", "alice", 1, 1}}, top.Items); diff != "" {
		t.Errorf("by denials (-want +got):\n%s", diff)
	}
	var p *Problem
	if _, err := client.Top(t.Context(), TopQuestion{By: "name"}); !errors.As(err, &p) || p.Code != codeInvalidQuery {
		t.Errorf("by nothing that is known: %v", err)
	}
}
