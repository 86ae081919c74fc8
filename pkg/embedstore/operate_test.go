package embedstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// topUp is an operation that adds a token to the bucket of [slow].
func topUp(t *testing.T, s *Store, id string, at time.Time) *hierarchy.Operation {
	t.Helper()
	k := slowKey()
	b, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ratelimit.PlanTopUp(k, &b, ratelimit.StampOf(at), []ratelimit.Take{{Limit: "slow", Tokens: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return &hierarchy.Operation{Cause: hierarchy.Cause{By: hierarchy.Actor{Caller: "t"}, At: at}, ID: id, Action: "top-up", Key: k, Write: w}
}

// empty makes the bucket of [slow], with nothing in it.
func empty(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.Apply(t.Context(), &ratelimit.Write{Key: slowKey(), OrAbsent: true, Limits: []ratelimit.LimitWrite{
		{Slot: 1, Min: ratelimit.NoMin, Max: ratelimit.NoMax, Form: ratelimit.FormSet, Params: &slow},
	}}); err != nil {
		t.Fatal(err)
	}
}

// The bucket is in the file with the record of what was done to it: whoever is
// told that it was made loses nothing of it when the process is killed then.
func TestOperationsOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	f, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(Config{}, f) // which saves nothing by itself
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	empty(t, s)
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(1_800_000_000_000)
	if err := s.Operate(t.Context(), "default", topUp(t, s, "ticket", now)); err != nil {
		t.Fatal(err)
	}
	want, err := s.Get(t.Context(), slowKey())
	if err != nil {
		t.Fatal(err)
	}
	// What a killed process leaves is what the file has between two updates.
	left, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again.db")
	if err := os.WriteFile(again, left, 0o600); err != nil {
		t.Fatal(err)
	}
	next := open(t, again)
	got, err := next.Get(t.Context(), slowKey())
	if err != nil || got.Limits[0].Balance != want.Limits[0].Balance || got.Limits[0].Balance == 0 {
		t.Errorf("the next process finds %+v, %v, want %+v", got, err, want)
	}
}

// meddled are records before whose next update something is done.
type meddled struct {
	*memory
	before func()
}

func (m *meddled) update(f func(writer) error) error {
	if do := m.before; do != nil {
		m.before = nil
		do()
	}
	return m.memory.update(f)
}

// A bucket that was on its way to the file when an operation changed it is
// saved as it is since.
func TestSavingNeverUndoesAnOperation(t *testing.T) {
	r := &meddled{memory: newMemory()}
	s := saving(t, r)
	empty(t, s)
	op := topUp(t, s, "ticket", time.UnixMilli(1_800_000_000_000))
	r.before = func() {
		if err := s.Operate(t.Context(), "default", op); err != nil {
			t.Error(err)
		}
	}
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	want, err := s.Get(t.Context(), slowKey())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	err = r.view(func(v reader) error {
		return v.scan(stateKeys, "", false, func(key string, value []byte) (bool, error) {
			if !strings.Contains(key, "killed") {
				return true, nil
			}
			found = true
			var b savedBucket
			if _, err := read(v, key, &b); err != nil {
				return false, err
			}
			if got := b.state().Limits[0].Balance; got != want.Limits[0].Balance {
				t.Errorf("the file has a balance of %d, the process one of %d (%s)", got, want.Limits[0].Balance, value)
			}
			return true, nil
		})
	})
	if err != nil || !found {
		t.Errorf("the bucket isn't saved: %v", err)
	}
}

// scanned counts what updates read of the operations that were made.
type scanned struct {
	*memory
	read int
}

func (r *scanned) update(f func(writer) error) error {
	return r.memory.update(func(w writer) error { return f(&scanner{w, r}) })
}

type scanner struct {
	writer
	records *scanned
}

func (s *scanner) scan(prefix, after string, down bool, f func(string, []byte) (bool, error)) error {
	return s.writer.scan(prefix, after, down, func(key string, value []byte) (bool, error) {
		if strings.HasPrefix(key, doneKeys) {
			s.records.read++
		}
		return f(key, value)
	})
}

// A script of operations doesn't read all before it for each: they are forgotten
// now and then, and in the end.
func TestOperationsAreForgotten(t *testing.T) {
	r := &scanned{memory: newMemory()}
	s := saving(t, r)
	empty(t, s)
	at := time.UnixMilli(1_800_000_000_000)
	known := func() int {
		n := 0
		for _, key := range r.keys {
			if strings.HasPrefix(key, doneKeys) {
				n++
			}
		}
		return n
	}
	operate := func(id string) {
		t.Helper()
		if err := s.Operate(t.Context(), "default", topUp(t, s, id, at)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		at = at.Add(time.Second)
		operate(strings.Repeat("x", 1+i%100) + at.Format("150405"))
	}
	if r.read != 0 || known() != 200 {
		t.Errorf("200 operations have read %d records; %d are known", r.read, known())
	}
	at = at.Add(forgetEvery)
	operate("later")
	if r.read != 200 || known() != 201 {
		t.Errorf("an hour later %d records were read; %d are known", r.read, known())
	}
	at = at.Add(hierarchy.KeepOperations)
	operate("last")
	if known() != 1 {
		t.Errorf("%d operations are known after all were known for long enough", known())
	}
	at = at.Add(-hierarchy.KeepOperations)
	operate("behind")
	if known() != 2 {
		t.Errorf("%d operations are known", known())
	}
}
