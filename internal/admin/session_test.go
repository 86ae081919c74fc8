package admin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/pkg/embedstore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

func newSession(namespace, caller, as string) *Session {
	return &Session{
		Store: embedstore.New(embedstore.Config{}), namespace: namespace, as: as,
		now: func() time.Time { return time.UnixMilli(1_800_000_000_000) },
		who: func(context.Context) string { return caller },
	}
}

var someLimits = LevelChange{Limits: []ratelimit.Limit{ratelimit.PerMinute("rpm", 1)}}

// The first change of the default namespace registers it; of any other it is an
// error, and nothing is written.
func TestFirstChange(t *testing.T) {
	s := newSession("default", "arn:aws:iam::1:user/alice", "bob")
	if _, err := s.SetLevel(t.Context(), "set-defaults", hierarchy.SystemRef(), someLimits); err != nil {
		t.Fatal(err)
	}
	l, err := s.Audit(t.Context(), hierarchy.Selector{}, hierarchy.Page{})
	if err != nil || len(l.Items) != 2 {
		t.Fatalf("the audit has %v, %v", l, err)
	}
	for _, e := range l.Items { // the caller as authenticated, and beside it whom they act for
		if diff := cmp.Diff(hierarchy.Actor{Caller: "arn:aws:iam::1:user/alice", As: "bob"}, e.By); diff != "" {
			t.Error(diff)
		}
	}
	s = newSession("other", "alice", "")
	if _, err := s.SetLevel(t.Context(), "set-defaults", hierarchy.SystemRef(), someLimits); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
		t.Errorf("in another namespace: %v", err)
	}
	if l, err := s.ListNamespaces(t.Context(), false, hierarchy.Page{}); err != nil || len(l.Items) > 0 {
		t.Errorf("registered: %v, %v", l, err)
	}
}

// Admins who change different parts of one item at once lose nothing.
func TestChangesOfOneItemAtOnce(t *testing.T) {
	s := newSession("default", "alice", "")
	if _, err := s.RegisterNamespace(t.Context(), "default", s.cause(t.Context())); err != nil {
		t.Fatal(err)
	}
	ref := hierarchy.ResourceRef("api")
	changes := []func(*Session) error{
		func(s *Session) error { _, err := s.SetLevel(t.Context(), "set-defaults", ref, someLimits); return err },
		func(s *Session) error { _, err := s.SetMode(t.Context(), ref, ratelimit.ModeBypass); return err },
		func(s *Session) error {
			_, err := s.SetLevel(t.Context(), "set-defaults", ref, LevelChange{OnUnavailable: ratelimit.FallbackAllow})
			return err
		},
	}
	ended := make(chan error)
	for _, change := range changes {
		other := *s
		go func() { ended <- change(&other) }()
	}
	for range changes {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	i, err := s.Get(t.Context(), ref)
	want := hierarchy.Level{Limits: someLimits.Limits, Mode: ratelimit.ModeBypass, OnUnavailable: ratelimit.FallbackAllow}
	if diff := cmp.Diff(want, i.Level); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// A caller that AWS doesn't name is the one of the operating system.
func TestLocalUser(t *testing.T) {
	if who := localUser(t.Context()); !strings.HasPrefix(who, "os:") || len(who) < len("os:x") {
		t.Errorf("the caller is %q", who)
	}
}
