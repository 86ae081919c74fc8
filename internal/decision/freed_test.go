package decision

import (
	"fmt"
	"strings"
	"testing"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// told is all that an answer tells.
func told(a *Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s %v %v %s %+v %v\n", a.Verdict, a.Reason, a.Source, a.RetryAfter, name(a.Rule), a.Entity, a.Err)
	for i := range a.Parts {
		p := &a.Parts[i]
		fmt.Fprintf(&b, "  %v %v %v %s %d %d", p.Verdict, p.Excused, p.Outcome.Action, name(p.Outcome.Rule), len(p.Outcome.Charges), len(p.Outcome.Shadows))
		if p.Limit != nil {
			fmt.Fprintf(&b, " %+v", *p.Limit)
		}
		b.WriteByte('\n')
	}
	for i := range a.Decision.Buckets {
		fmt.Fprintf(&b, "  %s %+v\n", a.Decision.Buckets[i].Key.ID(), a.Decision.Buckets[i].Limits)
	}
	return b.String()
}

func name(r *descriptors.Rule) string {
	if r == nil {
		return "none"
	}
	return r.Name()
}

// TestWhatIsFreedTellsNothing: an answer is the same whether or not it lies in
// what another lay in, which was about something else.
func TestWhatIsFreedTellsNothing(t *testing.T) {
	rules := []descriptors.RuleSource{
		{Name: text("closed"), Match: text(`domain == "edge" && has(descriptor.closed)`), Action: text("deny")},
		{Name: text("open"), Match: text(`domain == "edge" && has(descriptor.open)`), Action: text("allow")},
		{Name: text("broken"), Match: text(`domain == "edge" && has(descriptor.broken) && int(descriptor.broken) > 0`), Action: text("allow")},
		{
			Name: text("apart"), Match: text("has(descriptor.apart)"), Entity: text("${descriptor.apart}"), Independent: text("true"),
			Continue: text("true"), DefaultLimits: limits("n", "3/min"),
		},
		perUser,
	}
	freeing := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, rules...)
	keeping := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, rules...)
	user, apart := descriptor("user", "alice"), descriptor("apart", "a", "user", "bob")
	calls := [][]*descriptors.Request{
		{user},
		{descriptor("closed", "1")},
		{apart},
		{descriptor("other", "1")},
		{descriptor("broken", "x")},
		{user, apart},
		{descriptor("open", "1")},
		{apart, descriptor("closed", "1"), user},
		{descriptor("user", "")},
	}
	for round := range 4 {
		for i, reqs := range calls {
			got, want := freeing.decide(reqs...), keeping.decide(reqs...)
			if told(&got) != told(&want) {
				t.Errorf("round %d, call %d:\n%swant\n%s", round, i, told(&got), told(&want))
			}
			freeing.decider.Free(&got)
			if told(&got) != told(&Answer{}) {
				t.Errorf("an answer that was freed is\n%s", told(&got))
			}
			freeing.decider.Free(&got) // is nothing to free
		}
	}
}
