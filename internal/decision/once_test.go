package decision

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// onceRules are for checks of a user; the path says which.
var onceRules = []descriptors.RuleSource{
	{
		Name: text("booked"), Match: text(`request.path == "/settle"`), Continue: text("true"), Settle: text("true"),
		Entity: text("booked"), DefaultLimits: limits("n", "5/min"),
	},
	{
		Name: text("twice"), Match: text(`request.path == "/twice"`), Consume: text("2"),
		Entity: text("${request.headers.user}"), Resource: text("user"), DefaultLimits: limits("n", "5/min"),
	},
	{Name: text("user"), Match: text(`has(request.headers.user)`), Entity: text("${request.headers.user}"), DefaultLimits: limits("n", "5/min")},
}

// check is an attempt at a check: began in milliseconds.
func check(id string, began int64, path, user string) *descriptors.Request {
	return &descriptors.Request{
		Protocol: descriptors.ProtocolExtAuthz, Hits: 1, ID: id, Began: began * 1e6, Method: "GET", Path: path,
		Headers: map[string]string{"user": user},
	}
}

// Attempts at one check are charged once; anything that differs is another.
func TestAttemptsAreChargedOnce(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, onceRules...)
	for i, c := range []struct {
		what string
		r    *descriptors.Request
		left int64
	}{
		{"first", check("1", 1, "/", "u"), 4},
		{"again", check("1", 1, "/", "u"), 4},
		{"and again", check("1", 1, "/other", "u"), 4}, // it charges the same
		{"another id", check("2", 1, "/", "u"), 3},
		{"another time: an id that a client repeats", check("1", 2, "/", "u"), 2},
		{"another cost: another filter of the request", check("1", 1, "/twice", "u"), 0},
		{"that again", check("1", 1, "/twice", "u"), 0},
		{"the first again, although nothing is left", check("1", 1, "/", "u"), 0},
	} {
		f.want(f.decide(c.r), Allow, "allowed", Allow)
		if got := f.left("u", "user"); got != c.left {
			t.Fatalf("step %d, %s: %d left, want %d", i+1, c.what, got, c.left)
		}
	}
	f.want(f.decide(check("1", 1, "/", "v")), Allow, "allowed")
	if got := f.left("v", "user"); got != 4 {
		t.Errorf("another user with the same id: %d left, want 4", got)
	}
	a := f.decide(check("1", 1, "/", "v"))
	if l := a.Parts[0].Limit; a.Entity.ID != "v" || a.Rule.Name() != "user" || l == nil || l.Remaining() != 4 {
		t.Errorf("the answer to a second attempt: %+v, limit %+v", a, l)
	}
}

// Without an id or a time nobody knows which attempts belong together.
func TestAttemptsThatAreNotKnown(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, onceRules...)
	for _, r := range []*descriptors.Request{check("1", 0, "/", "u"), check("1", 0, "/", "u"), check("", 1, "/", "u"), check("", 1, "/", "u")} {
		f.want(f.decide(r), Allow, "allowed")
	}
	if got := f.left("u", "user"); got != 1 {
		t.Errorf("%d left of 5 after four checks", got)
	}
}

// A denial was not charged: the next attempt is decided anew, but for what
// settles, which was booked.
func TestAttemptsAfterADenial(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, onceRules...)
	for i := range 5 {
		f.want(f.decide(check("x", int64(i+1), "/", "u")), Allow, "allowed")
	}
	for range 3 {
		f.want(f.decide(check("1", 1, "/settle", "u")), Deny, "exceeded")
		if got := f.left("booked", "booked"); got != 4 {
			t.Errorf("%d left, want 4: booked once", got)
		}
	}
	f.want(f.decide(check("1", 1, "/settle", "free")), Allow, "allowed")
	if got := f.left("booked", "booked"); got != 3 {
		t.Errorf("%d left, want 3: another charge beside it is another request", got)
	}
}

// What explain asks is neither charged nor remembered.
func TestLooksAreNoAttempts(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, onceRules...)
	f.decider.Look(t.Context(), f.policy, []*descriptors.Request{check("1", 1, "/", "u")})
	f.decide(check("1", 1, "/", "u"))
	if got := f.left("u", "user"); got != 4 {
		t.Errorf("%d left, want 4", got)
	}
}

// slowOnce is a store whose first write of a bucket takes its time, or fails.
type slowOnce struct {
	ratelimit.Store
	takes time.Duration
	fails bool
	calls int
}

func (s *slowOnce) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	s.calls++
	if s.calls == 1 {
		time.Sleep(s.takes)
		if s.fails {
			return ratelimit.State{}, ratelimit.ErrUnavailable
		}
	}
	return s.Store.Apply(ctx, w)
}

// An attempt that comes while another is being decided waits for it; where that
// brought no decision it is decided itself.
func TestAttemptsAtTheSameTime(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := &slowOnce{Store: embedstore.New(embedstore.Config{}), takes: 100 * time.Millisecond, fails: fails}
			f := newFixture(t, store, hierarchy.Document{}, onceRules...)
			f.decider.observer = nil // the fixture's is for one call at a time
			first := make(chan Answer, 1)
			go func() { first <- f.decide(check("1", 1, "/", "u")) }()
			synctest.Wait()

			short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if a := f.decider.Decide(short, f.policy, []*descriptors.Request{check("1", 1, "/", "u")}); a.Verdict != Unavailable {
				t.Errorf("one that can't wait: %v", a.Verdict)
			}
			begun := time.Now()
			f.want(f.decide(check("1", 1, "/", "u")), Allow, "allowed")
			if waited := time.Since(begun); waited != 90*time.Millisecond {
				t.Errorf("waited %v", waited)
			}
			if a := <-first; (a.Verdict == Unavailable) != fails {
				t.Errorf("the first: %v", a.Verdict)
			}
			if got := f.left("u", "user"); got != 4 {
				t.Errorf("%d left, want 4", got)
			}
		})
	}
}

// What is remembered is bounded; what is forgotten is charged again.
func TestAttemptsAreForgotten(t *testing.T) {
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, onceRules...)
	f.policy.InProcess = true // no decision has a deadline
	const most = 8
	f.decider.once = newOnce(most)
	f.decide(check("1", 1, "/", "u"))
	for i := range most {
		f.want(f.decide(check("1", 1, "/", "u")), Allow, "allowed") // which is why it goes last
		f.want(f.decide(check(strconv.Itoa(i), 2, "/", strconv.Itoa(i))), Allow, "allowed")
	}
	if got := f.left("u", "user"); got != 4 {
		t.Errorf("%d left, want 4", got)
	}
	for i := range most {
		f.decide(check(strconv.Itoa(i), 3, "/", strconv.Itoa(i)))
	}
	if n := f.decider.once.seen.Len(); n != most {
		t.Errorf("%d are remembered", n)
	}
	f.decide(check("1", 1, "/", "u"))
	if got := f.left("u", "user"); got != 3 {
		t.Errorf("%d left, want 3", got)
	}
}

// Independent charges are remembered each for itself.
func TestAttemptsAtIndependentCharges(t *testing.T) {
	rules := []descriptors.RuleSource{
		{Name: text("wide"), Continue: text("true"), Independent: text("true"), Entity: text("wide"), DefaultLimits: limits("n", "5/min")},
		{Name: text("user"), Match: text(`has(request.headers.user)`), Entity: text("${request.headers.user}"), DefaultLimits: limits("n", "1/min")},
	}
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, rules...)
	f.want(f.decide(check("1", 1, "/", "u")), Allow, "allowed")
	for range 3 {
		f.want(f.decide(check("2", 1, "/", "u")), Deny, "exceeded")
	}
	if got := f.left("wide", "wide"); got != 3 {
		t.Errorf("%d left, want 3", got)
	}
}

// Charges of one bucket in one call are no attempts at each other, and those of
// another attempt are at all of them.
func TestIndependentChargesOfOneBucket(t *testing.T) {
	var rules []descriptors.RuleSource
	for _, name := range []string{"first", "second"} {
		rules = append(rules, descriptors.RuleSource{
			Name: text(name), Continue: text("true"), Independent: text("true"), Entity: text("u"), Resource: text("r"), DefaultLimits: limits("n", "5/min"),
		})
	}
	f := newFixture(t, embedstore.New(embedstore.Config{}), hierarchy.Document{}, rules...)
	for range 3 {
		f.want(f.decide(check("1", 1, "/", "u")), Allow, "allowed")
		if got := f.left("u", "r"); got != 3 {
			t.Fatalf("%d left, want 3", got)
		}
	}
}
