package embedstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/hierarchy/hierarchytest"
	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/ratelimit/storetest"
)

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(Config{Path: path, OnSaveError: func(err error) { t.Errorf("saving: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func shut(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func temp(t testing.TB) string { return filepath.Join(t.TempDir(), "extauthz.db") }

// unsynced is a store that doesn't wait for the disk: the suites change a lot,
// and none of them pulls the plug.
func unsynced(t *testing.T) *Store {
	t.Helper()
	s := open(t, temp(t))
	s.records.(*file).db.NoSync = true
	return s
}

func TestConfigurationInFile(t *testing.T) {
	s := unsynced(t)
	hierarchytest.Run(t, func(*testing.T) hierarchytest.Subject { return subject(s) })
}

func TestConformanceInFile(t *testing.T) {
	storetest.Run(t, func(t *testing.T) ratelimit.Store { return unsynced(t) })
}

func TestOpenWithoutPath(t *testing.T) {
	s := open(t, "")
	apply(t, s, take(key(t, 1), 100_000, 5))
	shut(t, s)
}

var someone = hierarchy.Cause{By: hierarchy.Actor{Caller: "me"}, At: time.UnixMilli(1_800_000_000_000)}

// configure sets the system's rate.
func configure(t testing.TB, s *Store, rate int64) {
	t.Helper()
	items, err := s.Items(t.Context(), "default", []hierarchy.Ref{hierarchy.SystemRef()})
	if err != nil {
		t.Fatal(err)
	}
	i := hierarchy.Item{Ref: hierarchy.SystemRef(), Level: hierarchy.Level{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", rate)}}}
	_, err = s.Edit(t.Context(), "default", hierarchy.Edit{Cause: someone, Action: "set", Puts: []hierarchy.Put{{Item: i, Expect: items[0].Revision}}})
	if err != nil {
		t.Fatal(err)
	}
}

// states are all of a store's buckets.
func states(s *Store) map[string]ratelimit.State {
	all := map[string]ratelimit.State{}
	for i := range s.shards {
		for k, b := range s.shards[i].buckets {
			all[k.space.id+"/"+k.rest] = *b
		}
	}
	return all
}

// What a store held when it was closed it holds when it is opened again.
func TestReopen(t *testing.T) {
	path := temp(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var want map[string]ratelimit.State
	for round := range 5 {
		s := open(t, path)
		if round > 0 {
			if diff := cmp.Diff(want, states(s)); diff != "" {
				t.Fatalf("round %d: %s", round, diff)
			}
		}
		for range 300 {
			k := key(t, rng.IntN(50))
			_, _ = s.Apply(t.Context(), take(k, ratelimit.Stamp(1000*round), rng.Int64N(15)))
			_, _ = s.Apply(t.Context(), add(k))
		}
		if rng.IntN(2) == 0 {
			s.Sweep(ratelimit.Stamp(1000*round + 500))
		}
		configure(t, s, int64(round+1))
		want = states(s)
		shut(t, s)
		shut(t, s)
	}
	s := open(t, path)
	items, err := s.Items(t.Context(), "default", []hierarchy.Ref{hierarchy.SystemRef()})
	if err != nil || items[0].Level.Limits[0].Rate != 5 {
		t.Errorf("%+v, %v", items, err)
	}
	if s.Sweep(1 << 40); s.Len() != 0 {
		t.Errorf("%d buckets are left", s.Len())
	}
	shut(t, s)
	if s = open(t, path); s.Len() != 0 {
		t.Errorf("%d buckets came back", s.Len())
	}
}

// Buckets of a namespace that was deleted come back with it, and a purge takes
// them away, in the file too.
func TestBucketsBelongToNamespaces(t *testing.T) {
	path := temp(t)
	s := open(t, path)
	ctx := t.Context()
	apply(t, s, take(key(t, 1), 100_000, 5))
	old, err := s.DeleteNamespace(ctx, "default", someone)
	if err != nil {
		t.Fatal(err)
	}
	if exists(t, s, key(t, 1)) {
		t.Error("a bucket without a namespace")
	}
	apply(t, s, take(key(t, 2), 100_000, 5))
	if exists(t, s, key(t, 1)) {
		t.Error("the new namespace has the old one's bucket")
	}
	young, err := s.DeleteNamespace(ctx, "default", someone)
	if err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	s = open(t, path)
	if _, err := s.RecoverNamespace(ctx, old.ID, someone); err != nil {
		t.Fatal(err)
	}
	if !exists(t, s, key(t, 1)) || exists(t, s, key(t, 2)) {
		t.Error("recovered without its bucket")
	}
	if err := s.PurgeNamespace(ctx, young.ID, nil); err != nil {
		t.Fatal(err)
	}
	if n := subject(s).Left(t, young); n != 0 || s.Len() != 1 {
		t.Errorf("%d records and %d buckets are left", n, s.Len()-1)
	}
	shut(t, s)
	if s = open(t, path); s.Len() != 1 {
		t.Errorf("%d buckets came back", s.Len())
	}
}

// Where only registered namespaces are let in, others are refused.
func TestRegisteredOnly(t *testing.T) {
	s := New(Config{RegisteredOnly: true})
	_, err := s.Apply(t.Context(), take(key(t, 1), 100_000, 5))
	if !errors.Is(err, ratelimit.ErrNotApplied) || !errors.Is(err, hierarchy.ErrUnknownNamespace) {
		t.Errorf("Apply: %v", err)
	}
	if _, err := s.Get(t.Context(), key(t, 1)); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.RegisterNamespace(t.Context(), "default", someone); err != nil {
		t.Fatal(err)
	}
	apply(t, s, take(key(t, 1), 100_000, 5))
}

// Changes and audit events are forgotten once they were kept for long enough.
func TestForget(t *testing.T) {
	s := New(Config{KeepAudit: 48 * time.Hour})
	ctx, at := t.Context(), someone.At
	edit := func(n int) int64 {
		t.Helper()
		i := hierarchy.Item{Ref: hierarchy.ResourceRef(fmt.Sprint(n))}
		c := hierarchy.Cause{By: someone.By, At: at.Add(time.Duration(n) * time.Hour)}
		revision, err := s.Edit(ctx, "default", hierarchy.Edit{Cause: c, Action: "set", Puts: []hierarchy.Put{{Item: i}}})
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	ns, err := s.RegisterNamespace(ctx, "default", someone)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		edit(n)
	}
	events, err := s.Events(ctx, "default", hierarchy.Selector{}, hierarchy.Page{})
	if err != nil || len(events.Events) != 49 { // those of hours 51 to 99
		t.Errorf("%d events, %v", len(events.Events), err)
	}
	mark := hierarchy.Mark{ID: ns.ID, Revision: ns.Revision + 100}
	for back, there := range map[int64]bool{24: true, 25: true, 26: false, 99: false} {
		from := hierarchy.Mark{ID: mark.ID, Revision: mark.Revision - back}
		changes, err := s.Changes(ctx, "default", from)
		if (err == nil) != there || there && len(changes) != int(back) || !there && !errors.Is(err, hierarchy.ErrGap) {
			t.Errorf("%d changes back: %d, %v", back, len(changes), err)
		}
	}
}

// problem opens what can't be opened, and checks that it was left alone.
func problem(t *testing.T, path string, want FileProblem) {
	t.Helper()
	before, _ := os.ReadFile(path)
	s, err := Open(Config{Path: path})
	var e *FileError
	if !errors.As(err, &e) || e.Problem != want || e.Path != path {
		t.Errorf("%v, not problem %d", err, want)
	}
	if s != nil {
		shut(t, s)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}

func TestUnusableFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	problem(t, filepath.Join(dir, "no", "such", "folder"), FileUnusable)
	problem(t, dir, FileForeign)
	problem(t, file("empty", nil), FileCorrupt)
	problem(t, file("text", []byte("limits:\n")), FileForeign)
	problem(t, file("long text", bytes.Repeat([]byte("limits:\n"), 10_000)), FileForeign)

	held := filepath.Join(dir, "held")
	s := open(t, held)
	problem(t, held, FileLocked)
	configure(t, func() *Store { apply(t, s, take(key(t, 1), 0, 1)); return s }(), 5)
	shut(t, s)
	shut(t, open(t, held))

	bolt := func(name string, f func(tx *bbolt.Tx) error) string {
		path := filepath.Join(dir, name)
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(f), db.Close()); err != nil {
			t.Fatal(err)
		}
		return path
	}
	problem(t, bolt("another program's", func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("theirs"))
		return err
	}), FileForeign)
	problem(t, bolt("held", func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(headerBucket)).Put([]byte(formatKey), []byte("2"))
	}), FileNewer)
}

// damage is a file that is damaged again and again.
type damage struct {
	content []byte // of the whole file
	path    string // of the damaged one
	want    map[string]ratelimit.State
}

func newDamage(t *testing.T) *damage {
	t.Helper()
	whole := temp(t)
	s := open(t, whole)
	for i := range 200 {
		apply(t, s, take(key(t, i), 100_000, 5))
	}
	configure(t, s, 5)
	configure(t, s, 6)
	d := damage{path: temp(t), want: states(s)}
	shut(t, s)
	var err error
	if d.content, err = os.ReadFile(whole); err != nil {
		t.Fatal(err)
	}
	return &d
}

// opens checks that a damaged file is opened with all that it held, or refused
// and left alone.
func (d *damage) opens(t *testing.T, what string, damaged []byte) bool {
	t.Helper()
	if err := os.WriteFile(d.path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Path: d.path})
	if err == nil {
		defer shut(t, s)
		if diff := cmp.Diff(d.want, states(s)); diff != "" {
			t.Fatalf("%s: opened, without all that it held: %s", what, diff)
		}
		items, err := s.Items(t.Context(), "default", []hierarchy.Ref{hierarchy.SystemRef()})
		if err != nil || items[0].Level.Limits[0].Rate != 6 {
			t.Fatalf("%s: opened with %+v, %v", what, items, err)
		}
		return true
	}
	var e *FileError
	if !errors.As(err, &e) {
		t.Fatalf("%s: %v", what, err)
	}
	if after, _ := os.ReadFile(d.path); !bytes.Equal(damaged, after) {
		t.Fatalf("%s: the file was changed", what)
	}
	return false
}

// Whatever bit of a file is changed, it is opened with all that it held, or
// refused. Of the first two pages one holds the last transaction, the other the
// one before: a damaged one counts as never written.
func TestDamagedFiles(t *testing.T) {
	d := newDamage(t)
	rng := rand.New(rand.NewPCG(3, 4))
	flips, refused := 400, 0
	if testing.Short() {
		flips = 50
	}
	first := 2 * os.Getpagesize()
	for range flips {
		at, bit := first+rng.IntN(len(d.content)-first), byte(1)<<rng.IntN(8)
		damaged := bytes.Clone(d.content)
		damaged[at] ^= bit
		if !d.opens(t, fmt.Sprintf("bit %d of byte %d of %d", bit, at, len(damaged)), damaged) {
			refused++
		}
	}
	if refused < flips/10 {
		t.Errorf("%d of %d damages were seen", refused, flips)
	}
}

// A page that is said to go on for a terabyte is no reason to look for it.
func TestEndlessPages(t *testing.T) {
	d := newDamage(t)
	const overflowAt = 12 // in the header of each of bolt's pages
	for at := 2 * os.Getpagesize(); at < len(d.content); at += os.Getpagesize() {
		damaged := bytes.Clone(d.content)
		copy(damaged[at+overflowAt:], []byte{0xff, 0xff, 0xff, 0x0f})
		d.opens(t, fmt.Sprintf("page %d", at/os.Getpagesize()), damaged)
	}
}

// A record that is gone, or is as it once was, is seen, though each that is
// there is whole.
func TestLostRecords(t *testing.T) {
	path := temp(t)
	s := open(t, path)
	ns, err := s.RegisterNamespace(t.Context(), "default", someone)
	if err != nil {
		t.Fatal(err)
	}
	configure(t, s, 5)
	shut(t, s)
	name := []byte(itemKey(ns.ID, hierarchy.SystemRef()))
	raw := func(f func(records *bbolt.Bucket) error) {
		t.Helper()
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bbolt.Tx) error { return f(tx.Bucket([]byte(recordsBucket))) })
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	var old []byte
	raw(func(records *bbolt.Bucket) error {
		old = bytes.Clone(records.Get(name))
		return nil
	})
	s = open(t, path)
	configure(t, s, 6)
	shut(t, s)
	raw(func(records *bbolt.Bucket) error { return records.Put(name, old) })
	problem(t, path, FileCorrupt)
	raw(func(records *bbolt.Bucket) error { return records.Delete(name) })
	problem(t, path, FileCorrupt)
}

// A charge that found its namespace before a purge leaves no bucket after it.
func TestChargesDuringPurge(t *testing.T) {
	s := New(Config{})
	ctx, k := t.Context(), key(t, 1)
	apply(t, s, take(k, 100_000, 5))
	found := keyIn((*s.names.Load())["default"], &k)
	ns, err := s.DeleteNamespace(ctx, "default", someone)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PurgeNamespace(ctx, ns.ID, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.shard(found).apply(found, take(k, 100_000, 5), 0); !errors.Is(err, errGone) || s.Len() != 0 {
		t.Errorf("%v, and %d buckets", err, s.Len())
	}
	apply(t, s, take(k, 100_000, 5)) // under the name, in a new one
	if s.Len() != 1 {
		t.Errorf("%d buckets", s.Len())
	}
}

// A file that was cut off is refused, unless nothing was lost.
func TestCutFiles(t *testing.T) {
	d := newDamage(t)
	n := len(d.content)
	for _, size := range []int{1, 100, 4096, 8192, 12288, n / 4, n / 2, n - 4096, n - 1} {
		if d.opens(t, fmt.Sprintf("cut off at %d of %d", size, n), d.content[:size]) && size <= n/4 {
			t.Errorf("cut off at %d: opened", size)
		}
	}
}
