package stack_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/stack"
	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// What is protected stays; the rest goes with all that is in it.
func TestDelete(t *testing.T) {
	c := newCloud(t)
	s := c.stack(t)
	if err := s.Delete(t.Context(), nil); !errors.Is(err, stack.ErrMissing) {
		t.Error(err)
	}
	c.deploy(t, stack.Declaration{Code: code(t, "1")})
	c.PutObject(c.config.Name, "AuditArchive", "audit/1")
	err := s.Delete(t.Context(), func(stack.Loss) error { t.Error("asked in vain"); return nil })
	if !errors.Is(err, stack.ErrProtected) {
		t.Fatal(err)
	}
	c.deploy(t, stack.Declaration{Keep: true, Parameters: map[string]string{"DeletionProtection": "false"}})
	c.Protect(c.config.Name, true)
	if err := s.Delete(t.Context(), nil); !errors.Is(err, stack.ErrProtected) {
		t.Fatal(err)
	}
	c.Protect(c.config.Name, false)

	refused, loss := errors.New("refused"), stack.Loss{}
	err = s.Delete(t.Context(), func(l stack.Loss) error { loss = l; return refused })
	if !errors.Is(err, refused) || c.Status(c.config.Name) != "UPDATE_COMPLETE" {
		t.Errorf("%v, %s", err, c.Status(c.config.Name))
	}
	want := []string{c.config.Name + "-auditarchive", c.config.Name + "-codebucket"}
	if diff := cmp.Diff(want, loss.Buckets); diff != "" || loss.Items < 0 {
		t.Errorf("%d items, %s", loss.Items, diff)
	}
	for n := range 20 { // many pages
		c.PutObject(c.config.Name, "AuditArchive", fmt.Sprint("audit/", n))
	}
	must(t, s.Delete(t.Context(), nil))
	if c.Status(c.config.Name) != "" || len(c.Objects(c.config.Name, "AuditArchive")) > 0 {
		t.Error(c.Status(c.config.Name))
	}
	if _, err := dynamostore.Inspect(t.Context(), dynamostore.Config{AWS: c.config.AWS, Table: c.config.Name, EndpointURL: c.URL}); err == nil {
		t.Error("the table is still there")
	}
}

// A deletion that is interrupted, or fails, may be repeated.
func TestDeleteAgain(t *testing.T) {
	c := newCloud(t)
	c.deploy(t, stack.Declaration{Code: code(t, "1"), Parameters: map[string]string{"DeletionProtection": "false"}})
	ctx, cancel := context.WithCancel(t.Context())
	config := c.config
	config.Event = func(stack.Event) { cancel() }
	s, err := stack.New(config)
	must(t, err)
	defer s.Close()
	if err := s.Delete(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	must(t, c.stack(t).Delete(t.Context(), nil))
	if got := c.Status(c.config.Name); got != "" {
		t.Error(got)
	}
}

// How a deployment is, is found out as far as it can be.
func TestLook(t *testing.T) {
	c := newCloud(t)
	s := c.stack(t)
	is := s.Look(t.Context(), nil)
	if is.Available() || is.State != nil || is.StateErr != nil || len(is.Problems()) != 1 {
		t.Errorf("nothing: %+v", is)
	}
	says(t, errors.New(is.Problems()[0]), "nothing is deployed")

	c.deploy(t, stack.Declaration{Code: code(t, "1"), Version: "v1"})
	is = s.Look(t.Context(), code(t, "1"))
	got := []any{
		is.Available(), is.Template, is.Code, is.Version, is.Aggregator, is.Table.Schema, is.Table.Protected, is.Table.Latency > 0,
		len(is.Problems()), is.Spent,
	}
	want := []any{true, stack.Same, stack.Same, "v1", "CREATE_COMPLETE", int64(dynamostore.SchemaVersion), true, true, 0, (*stack.Spent)(nil)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("as it should be: %s", diff)
	}
	c.Consume(1_000_000, 200_000)
	is = s.Look(t.Context(), code(t, "2"))
	if diff := cmp.Diff(&stack.Spent{WriteUnits: 1_000_000, ReadUnits: 200_000}, is.Spent); diff != "" {
		t.Error(diff)
	}
	if is.Code != stack.Other || len(is.Problems()) != 1 {
		t.Errorf("another code: %+v", is)
	}
	says(t, errors.New(is.Problems()[0]), "another version")
	if is = s.Look(t.Context(), nil); is.Code != stack.Unknown {
		t.Errorf("no code: %+v", is)
	}
}

// What is under way or has failed is seen, and all that there is is listed.
func TestList(t *testing.T) {
	c := newCloud(t)
	s := c.stack(t)
	c.deploy(t, stack.Declaration{Parameters: map[string]string{"EnableAggregator": "false"}})
	c.Begin(c.config.Name)
	says(t, errors.New(s.Look(t.Context(), nil).Problems()[0]), "at work")

	other := c.config
	other.Name += "-b"
	second, err := stack.New(other)
	must(t, err)
	defer second.Close()
	c.Fail("Table", "no")
	_, err = second.Deploy(t.Context(), stack.Declaration{Code: code(t, "1")})
	says(t, err, "no")
	c.Fail("Table", "")
	says(t, errors.New(second.Look(t.Context(), nil).Problems()[1]), "failed")

	third := c.config
	third.Name += "-c"
	s3, err := stack.New(third)
	must(t, err)
	defer s3.Close()
	_, err = s3.Deploy(t.Context(), stack.Declaration{Parameters: map[string]string{"EnableAggregator": "false"}})
	must(t, err)
	all, err := stack.List(t.Context(), c.config)
	must(t, err)
	got := []string{}
	for _, st := range all {
		got = append(got, st.Name+" "+st.Status)
	}
	want := []string{c.config.Name + " " + c.Status(c.config.Name), other.Name + " ROLLBACK_COMPLETE", third.Name + " UPDATE_COMPLETE"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
