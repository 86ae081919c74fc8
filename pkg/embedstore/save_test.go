package embedstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// childEnv names the file of a process that charges until it is killed.
const childEnv = "EMBEDSTORE_TEST_CHILD"

// TestMain is also the process that is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Println("failed", charge(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// slow is a limit that gains nothing while a test runs.
var slow = ratelimit.ParamsOf(ratelimit.Custom("slow", 1_000_000, 1, 24*time.Hour))

func slowKey() ratelimit.Key {
	k, _ := ratelimit.NewKey("default", "killed", "api", "") // the only errors are of the parts
	return k
}

// charge charges a bucket and changes the configuration, and tells of each once
// it is done. It ends by an error alone.
func charge(path string) error {
	ctx := context.Background()
	s, err := Open(Config{Path: path})
	if err != nil {
		return err
	}
	k := slowKey()
	b, err := s.Get(ctx, k)
	if err != nil {
		return err
	}
	if !b.Exists {
		if _, err := s.Apply(ctx, &ratelimit.Write{Key: k, OrAbsent: true, Limits: []ratelimit.LimitWrite{
			{Slot: 1, Min: ratelimit.NoMin, Max: ratelimit.NoMax, Form: ratelimit.FormSet, Value: slow.Capacity, Params: &slow},
		}}); err != nil {
			return err
		}
	}
	for n := 0; ; n++ {
		b, err := s.Apply(ctx, add(k))
		if err != nil {
			return err
		}
		fmt.Println("charged", b.Limits[0].Charged, time.Now().UnixMilli())
		if n%40 == 0 {
			rate, err := raise(ctx, s)
			if err != nil {
				return err
			}
			fmt.Println("raised", rate, time.Now().UnixMilli())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// raise adds one to the system's rate.
func raise(ctx context.Context, s *Store) (int64, error) {
	items, err := s.Items(ctx, "default", []hierarchy.Ref{hierarchy.SystemRef()})
	if err != nil {
		return 0, err
	}
	rate := int64(1)
	if len(items[0].Level.Limits) > 0 {
		rate += items[0].Level.Limits[0].Rate
	}
	i := hierarchy.Item{Ref: hierarchy.SystemRef(), Level: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", rate)}}}
	_, err = s.Edit(ctx, "default", hierarchy.Edit{Cause: someone, Action: "raise", Puts: []hierarchy.Put{{Item: i, Expect: items[0].Revision}}})
	return rate, err
}

// told is what a child has told: the last of each, and when each charge was made.
type told struct {
	charged, raised int64
	at              []int64 // :: number of a charge in this life -> milliseconds
	first           int64   // charge of this life
}

// untilKilled runs a child for a while and kills it.
func untilKilled(t *testing.T, path string, life time.Duration) told {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got told
	var what string
	var n, at, begun int64
	lines := bufio.NewScanner(out)
	for killed := false; lines.Scan(); {
		if _, err := fmt.Sscan(lines.Text(), &what, &n, &at); err != nil {
			t.Errorf("the child says %q", lines.Text())
			break
		}
		if begun == 0 {
			begun, got.first = at, n
		}
		switch what {
		case "charged":
			got.charged, got.at = n, append(got.at, at)
		case "raised":
			got.raised = n
		}
		if !killed && at-begun > life.Milliseconds() { // what it had said by then is read to its end
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	return got
}

// A process that is killed forgets nothing of the configuration, and of the
// charges those of its last second or so.
func TestKilled(t *testing.T) {
	path := temp(t)
	lives := 3
	if testing.Short() {
		lives = 1
	}
	for life := range lives {
		got := untilKilled(t, path, time.Duration(1300+400*life)*time.Millisecond)
		if len(got.at) < 100 {
			t.Fatalf("life %d: %d charges", life, len(got.at))
		}
		s := open(t, path)
		items, err := s.Items(t.Context(), "default", []hierarchy.Ref{hierarchy.SystemRef()})
		if err != nil {
			t.Fatal(err)
		}
		// The last one may be there without having been told.
		if rate := items[0].Level.Limits[0].Rate; rate != got.raised && rate != got.raised+1 {
			t.Errorf("life %d: the configuration is at %d, %d was told", life, rate, got.raised)
		}
		b, err := s.Get(t.Context(), slowKey())
		if err != nil {
			t.Fatal(err)
		}
		// Half a second for a machine that is busy with other things.
		before := got.at[len(got.at)-1] - (saveEvery + 500*time.Millisecond).Milliseconds()
		least := got.first
		for i, at := range got.at {
			if at < before {
				least = got.first + int64(i)
			}
		}
		charged := int64(b.Limits[0].Charged)
		if charged < least || charged > got.charged+1 {
			t.Errorf("life %d: %d charges are there; %d were told, %d of them long before the end", life, charged, got.charged, least)
		}
		if want := slow.Capacity - b.Limits[0].Charged; b.Limits[0].Balance != want {
			t.Errorf("life %d: the balance is %d, not %d", life, b.Limits[0].Balance, want)
		}
		t.Logf("life %d: %d of %d charges are there", life, charged, got.charged)
		shut(t, s)
	}
}

// stubborn are records whose updates wait, and fail as often as they are told.
type stubborn struct {
	*memory
	fail    atomic.Int64
	waiting chan struct{} // one for each update that begins
	release chan struct{}
}

func (s *stubborn) update(f func(writer) error) error {
	if s.waiting != nil {
		s.waiting <- struct{}{}
		<-s.release
	}
	if s.fail.Add(-1) >= 0 {
		return errors.New("the disk is full")
	}
	return s.memory.update(f)
}

// saving is a store that saves to records.
func saving(t *testing.T, r records) *Store {
	t.Helper()
	s := newStore(Config{Shards: 8}, r)
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	apply(t, s, take(key(t, 0), 0, 1))
	return s
}

// Charges never wait for the disk.
func TestSavingStallsNobody(t *testing.T) {
	r := &stubborn{memory: newMemory()}
	s := saving(t, r)
	for i := range 1000 {
		apply(t, s, take(key(t, 1+i), 0, 1))
	}
	r.waiting, r.release = make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() { done <- s.save() }()
	<-r.waiting
	for i := range 2000 { // in each shard, old ones and new ones
		apply(t, s, take(key(t, 5000+i), 0, 1))
		apply(t, s, add(key(t, i%1000)))
	}
	close(r.release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Only what has changed is saved; what could not be saved is tried again.
func TestSaveAgain(t *testing.T) {
	r := &stubborn{memory: newMemory()}
	s := saving(t, r)
	held := func() int {
		n := 0
		err := r.view(func(v reader) error {
			return v.scan(stateKeys, "", false, func(string, []byte) (bool, error) { n++; return true, nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	changed := func() int {
		n := 0
		for i := range s.shards {
			n += len(s.shards[i].changed)
		}
		return n
	}
	for i := range 99 {
		apply(t, s, take(key(t, 1+i), 0, 1))
	}
	r.fail.Store(2)
	for range 2 {
		if err := s.save(); err == nil || changed() != 100 || held() != 0 {
			t.Errorf("%v: %d to be saved, %d saved", err, changed(), held())
		}
	}
	if err := s.save(); err != nil || changed() != 0 || held() != 100 {
		t.Errorf("%v: %d to be saved, %d saved", err, changed(), held())
	}
	apply(t, s, add(key(t, 7)))
	if changed() != 1 {
		t.Errorf("%d to be saved after one charge", changed())
	}
	s.Sweep(1 << 40)
	if err := s.save(); err != nil || held() != 0 {
		t.Errorf("%v: %d saved of what was dropped", err, held())
	}
}

// BenchmarkSave saves buckets that have all changed.
func BenchmarkSave(b *testing.B) {
	const n = 10_000
	s := open(b, temp(b))
	keys := make([]ratelimit.Key, n)
	for i := range keys {
		keys[i] = key(b, i)
		apply(b, s, take(keys[i], 0, 1))
	}
	for b.Loop() {
		for _, k := range keys {
			apply(b, s, add(k))
		}
		if err := s.save(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/bucket")
}
