package decision

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// fiveLimits are three rules for three descriptors: five limits of two entities.
var fiveLimits = []descriptors.RuleSource{
	{
		Name: text("user"), Match: text(`descriptor.kind == "user"`), Entity: text("user"),
		ConsumeEach:   []descriptors.NamedText{{Name: text("rpm"), Value: text("1")}, {Name: text("tpm"), Value: text("hits")}},
		DefaultLimits: append(limits("rpm", "90/day"), limits("tpm", "400/day")...),
	},
	{Name: text("files"), Match: text(`descriptor.kind == "files"`), Entity: text("user"), DefaultLimits: limits("n", "300/day")},
	{
		Name: text("tenant"), Match: text(`descriptor.kind == "tenant"`), Entity: text("tenant"),
		DefaultLimits: append(limits("n", "350/day"), limits("m", "250/day")...),
	},
}

// ledger is a store whose answers are late, and get lost, before the write or
// after it. It keeps what was charged for nobody, and what of a credit was lost.
type ledger struct {
	ratelimit.Store
	faults, resent bool // resent: a credit that wasn't applied is sent again

	mu   sync.Mutex
	rand *rand.Rand
	lost map[string]ratelimit.Millitokens // :: bucket and slot
}

var errLost = errors.New("the answer is lost")

func (l *ledger) Apply(ctx context.Context, w *ratelimit.Write) (ratelimit.State, error) {
	fate, wait := l.draw()
	time.Sleep(wait)
	switch fate {
	case 0: // not applied, and known not to be
		if !l.resent {
			l.lose(w, credited)
		}
		return ratelimit.State{}, fmt.Errorf("turned away: %w", ratelimit.ErrNotApplied)
	case 1: // not applied, and nobody knows
		l.lose(w, credited)
		return ratelimit.State{}, errLost
	case 2: // applied, and nobody knows
		if _, err := l.Store.Apply(ctx, w); err != nil {
			return ratelimit.State{}, err
		}
		l.lose(w, charged)
		return ratelimit.State{}, errLost
	}
	return l.Store.Apply(ctx, w)
}

func (l *ledger) Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error) {
	_, wait := l.draw()
	time.Sleep(wait)
	return l.Store.Get(ctx, k)
}

// draw draws what becomes of a write, and how long it takes.
func (l *ledger) draw() (fate int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fate = 3; l.faults && l.rand.IntN(6) == 0 {
		fate = l.rand.IntN(3)
	}
	return fate, time.Duration(l.rand.IntN(3000)) * time.Microsecond
}

func charged(w *ratelimit.LimitWrite) ratelimit.Millitokens  { return w.Charged }
func credited(w *ratelimit.LimitWrite) ratelimit.Millitokens { return w.Returned }

func (l *ledger) lose(w *ratelimit.Write, what func(*ratelimit.LimitWrite) ratelimit.Millitokens) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range w.Limits {
		l.lost[w.Key.ID()+strconv.Itoa(w.Limits[i].Slot)] += what(&w.Limits[i])
	}
}

// tally is what the callers were told.
type tally struct {
	mu                        sync.Mutex
	taken                     map[string]int64 // :: resource and limit -> tokens that were admitted
	allowed, denied, unserved int
}

func (y *tally) note(a *Answer, user, files, tenant int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	switch a.Verdict {
	case Allow:
		y.allowed++
		for name, n := range map[string]int64{"user rpm": 1, "user tpm": user, "files n": files, "tenant n": tenant, "tenant m": tenant} {
			y.taken[name] += n
		}
	case Deny:
		y.denied++
	default:
		y.unserved++
	}
}

// TestADenialChargesNothing asks at the same time for different amounts of five
// limits in three descriptors, until all that is left is too little for most.
// After compensation each bucket was charged what was admitted, and not a token
// more, but for what the store lost by its own account.
func TestADenialChargesNothing(t *testing.T) {
	seeds := 12
	if os.Getenv("EXTAUTHZ_TEST_LONG") != "" {
		seeds = 400
	}
	for _, remote := range []*ratelimit.Remote{nil, {}} {
		for _, faults := range []bool{false, true} {
			t.Run(fmt.Sprintf("remote %t, faults %t", remote != nil, faults), func(t *testing.T) {
				returned, unserved := ratelimit.Millitokens(0), 0
				for seed := range seeds {
					synctest.Test(t, func(t *testing.T) {
						back, late := deniedChargeNothing(t, remote, faults, uint64(seed))
						returned, unserved = returned+back, unserved+late
					})
				}
				if returned == 0 || unserved == 0 {
					t.Errorf("%d given back, %d without a decision: no denial came after a charge, or nothing was late", returned, unserved)
				}
			})
		}
	}
}

// deniedChargeNothing is the test with one seed; it returns what was given back,
// and how many calls got no decision.
func deniedChargeNothing(t *testing.T, remote *ratelimit.Remote, faults bool, seed uint64) (returned ratelimit.Millitokens, unserved int) {
	store := &ledger{
		Store: embedstore.New(embedstore.Config{}), faults: faults, resent: remote != nil,
		rand: rand.New(rand.NewPCG(seed, 0)), lost: map[string]ratelimit.Millitokens{},
	}
	rules, broken, _ := descriptors.Compile(fiveLimits, descriptors.Options{Namespace: "default"})
	if len(broken) > 0 {
		t.Fatal(broken)
	}
	limiter, err := ratelimit.New(ratelimit.Config{Store: store, Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	policy := &Policy{Rules: rules, Resolver: hierarchy.NewResolver("default", hierarchy.Document{})}
	decider := New(limiter, nil)
	told := tally{taken: map[string]int64{}}
	var all sync.WaitGroup
	for caller := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(caller)+1))
			for range 25 {
				ask(t.Context(), decider, policy, r, &told)
			}
		})
	}
	all.Wait()
	if err := limiter.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if told.allowed == 0 || told.denied == 0 {
		t.Errorf("seed %d: %d allowed, %d denied: the test tries nothing", seed, told.allowed, told.denied)
	}
	return store.compare(t, seed, &told), told.unserved
}

// ask makes one call of three descriptors, now and then one that doesn't wait.
func ask(ctx context.Context, d *Decider, p *Policy, r *rand.Rand, told *tally) {
	user, files, tenant := r.Int64N(12), r.Int64N(9), r.Int64N(10)
	if r.IntN(10) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(4000))*time.Microsecond+1)
		defer cancel()
	}
	a := d.Decide(ctx, p, []*descriptors.Request{
		hits(uint64(user), false, "kind", "user"), hits(uint64(files), false, "kind", "files"), hits(uint64(tenant), false, "kind", "tenant"),
	})
	told.note(&a, user, files, tenant)
	time.Sleep(time.Duration(r.IntN(5000)) * time.Microsecond)
}

// compare holds the buckets to what the callers were told, and returns what was
// given back to them.
func (l *ledger) compare(t *testing.T, seed uint64, told *tally) (returned ratelimit.Millitokens) {
	t.Helper()
	for _, bucket := range [][2]string{{"user", "user"}, {"user", "files"}, {"tenant", "tenant"}} {
		k, err := ratelimit.NewKey("default", bucket[0], bucket[1], "")
		if err != nil {
			t.Fatal(err)
		}
		state, err := l.Store.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		for i, limit := range state.Limits {
			lost := l.lost[k.ID()+strconv.Itoa(i+1)]
			admitted := ratelimit.Milli(told.taken[bucket[1]+" "+limit.Name])
			if limit.Charged-limit.Returned != admitted+lost {
				t.Errorf("seed %d, %s %s: charged %d, returned %d, admitted %d, lost %d", seed, bucket[1], limit.Name, limit.Charged, limit.Returned, admitted, lost)
			}
			returned += limit.Returned
		}
	}
	return returned
}
