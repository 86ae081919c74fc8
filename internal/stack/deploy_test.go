package stack_test

import (
	"context"
	"debug/elf"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/stack"
	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// A new stack is made in two steps, is whole then, and stays as it is when it is
// deployed again.
func TestDeploy(t *testing.T) {
	c := newCloud(t)
	d := stack.Declaration{Code: code(t, "1"), Version: "v1", Tags: map[string]string{"team": "edge"}}
	r := c.deploy(t, d)
	if !r.Created || !r.Waited || r.State.Status != "UPDATE_COMPLETE" {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(map[string]string{"aws:of": "aws", "extauthz:stack": c.config.Name, "team": "edge"}, r.State.Tags); diff != "" {
		t.Error(diff)
	}
	twoSteps(t, c.plans)
	if r.State.Parameters["DeletionProtection"] != "true" || r.State.Outputs["TableName"] != c.config.Name || r.State.Outputs["AggregatorName"] == "" {
		t.Errorf("%+v", r.State)
	}
	if got := c.Objects(c.config.Name, "CodeBucket"); len(got) != 1 || got[0] != r.State.Parameters["AggregatorCodeKey"] {
		t.Errorf("the code: %q", got)
	}
	inOrder(t, c.events)

	isRegistered(t, c)
	unchanged(t, c, d)
}

// unchanged deploys the same again, and then another code.
func unchanged(t *testing.T, c *cloud, d stack.Declaration) {
	t.Helper()
	again := c.deploy(t, d)
	if again.Created || len(again.Changes) > 0 || len(c.plans) != 2 {
		t.Errorf("again: %+v", again)
	}
	if got := c.Calls("DeleteChangeSet"); got != 1 {
		t.Errorf("%d change sets without changes were removed", got)
	}
	d.Code = code(t, "2")
	newer := c.deploy(t, d)
	if of(newer.Changes, "Aggregator") != "Modify False" || of(newer.Changes, "Table") != "" || c.last().Asks() {
		t.Errorf("another code: %+v", newer.Changes)
	}
	if got := c.Objects(c.config.Name, "CodeBucket"); len(got) != 2 {
		t.Errorf("the code: %q", got)
	}
}

// twoSteps checks the plans of a new stack.
func twoSteps(t *testing.T, plans []stack.Plan) {
	t.Helper()
	if plans[0].Kind != stack.Create || plans[0].Asks() || of(plans[0].Changes, "Aggregator") != "" || of(plans[0].Changes, "Table") != "Add" {
		t.Errorf("the first step: %+v", plans[0])
	}
	if plans[1].Kind != stack.Update || plans[1].Asks() || of(plans[1].Changes, "Aggregator") != "Add" || of(plans[1].Changes, "Table") != "Modify False" {
		t.Errorf("the second: %+v", plans[1])
	}
}

// isRegistered checks that the first namespace is there.
func isRegistered(t *testing.T, c *cloud) {
	t.Helper()
	store, err := dynamostore.Open(t.Context(), dynamostore.Config{AWS: c.config.AWS, Table: c.config.Name, EndpointURL: c.URL, KeepWarm: -1, Register: []string{}})
	must(t, err)
	_, err = store.Namespace(t.Context(), "default")
	must(t, errors.Join(err, store.Close()))
}

// inOrder checks that events are told once, one after another, and that each
// resource is begun before it is done.
func inOrder(t *testing.T, events []stack.Event) {
	t.Helper()
	begun := map[string]bool{}
	for i, e := range events {
		if i > 0 && e.At.Before(events[i-1].At) {
			t.Errorf("%s %s comes late", e.Resource, e.Status)
		}
		operation, end, _ := strings.Cut(e.Status, "_")
		if end == "COMPLETE" && !begun[operation+e.Resource] {
			t.Errorf("%s %s is told without its begin", e.Resource, e.Status)
		}
		if end == "IN_PROGRESS" {
			begun[operation+e.Resource] = true
		}
	}
	if len(events) < 60 {
		t.Errorf("only %d events", len(events))
	}
}

// What isn't said stays as it is, or, where the declaration is whole, is by
// default again.
func TestWhatIsNotSaid(t *testing.T) {
	c := newCloud(t)
	c.deploy(t, stack.Declaration{
		Keep: true, Code: code(t, "1"), Tags: map[string]string{"team": "edge"},
		Parameters: map[string]string{"AggregatorBatchWindow": "300", "EnableAlarms": "false", "DeletionProtection": "false"},
	})
	r := c.deploy(t, stack.Declaration{Keep: true, Parameters: map[string]string{"UsageRetentionDays": "30"}})
	for name, want := range map[string]string{"AggregatorBatchWindow": "300", "EnableAlarms": "false", "DeletionProtection": "false", "UsageRetentionDays": "30"} {
		if got := r.State.Parameters[name]; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if len(r.Changes) != 1 || of(r.Changes, "Aggregator") != "Modify False" || r.State.Tags["team"] != "edge" || r.State.Outputs["AggregatorName"] == "" {
		t.Errorf("%+v", r)
	}
	r = c.deploy(t, stack.Declaration{})
	for name, want := range map[string]string{"AggregatorBatchWindow": "60", "EnableAlarms": "true", "DeletionProtection": "true", "UsageRetentionDays": "90"} {
		if got := r.State.Parameters[name]; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if r.State.Tags["team"] != "" || r.State.Outputs["AggregatorName"] == "" { // the code is what it was
		t.Errorf("%+v", r.State)
	}
}

// What would be replaced or lost is shown first, and stays when that is refused.
func TestLoss(t *testing.T) {
	c := newCloud(t)
	c.deploy(t, stack.Declaration{Code: code(t, "1")})
	refused := errors.New("refused")
	for _, test := range []struct {
		parameter, value, resource, change string
		careful                            bool // whether nobody needs to be asked who can't be
	}{
		{"EnableAuditArchive", "false", "AuditArchive", "Remove", false},
		{"EnableAggregator", "false", "DeadLetters", "Remove", false},
		{"PolicyNameFormat", "x-{}", "ServePolicy", "Modify True", true},
		{"EnableAlarms", "false", "ReadsAlarm", "Remove", true},
	} {
		d := stack.Declaration{Keep: true, Parameters: map[string]string{test.parameter: test.value}}
		d.Approve = func(p stack.Plan) error {
			must(t, c.agree(p))
			return refused
		}
		if _, err := c.stack(t).Deploy(t.Context(), d); !errors.Is(err, refused) {
			t.Errorf("%s: %v", test.parameter, err)
		}
		if p := c.last(); !p.Asks() || of(p.Changes, test.resource) != test.change {
			t.Errorf("%s: %+v", test.parameter, p)
		}
		st, err := c.stack(t).State(t.Context())
		must(t, err)
		if st.Status != "UPDATE_COMPLETE" || st.Parameters[test.parameter] == test.value {
			t.Errorf("%s: %+v", test.parameter, st)
		}
		d.Approve = nil
		_, err = c.stack(t).Deploy(t.Context(), d)
		switch {
		case test.careful && err != nil, !test.careful && !errors.Is(err, stack.ErrLoss):
			t.Errorf("%s, with nobody to ask: %v", test.parameter, err)
		case !test.careful:
			says(t, err, "would lose", c.config.Name)
		}
	}
}

// What comes and goes with the aggregator.
func TestTheAggregatorComesAndGoes(t *testing.T) {
	c := newCloud(t)
	c.deploy(t, stack.Declaration{Code: code(t, "1")})
	// What holds nothing and may be replaced is shown, and no question.
	c.deploy(t, stack.Declaration{Keep: true, Parameters: map[string]string{"DeletionProtection": "false"}})
	if p := c.last(); p.Asks() || of(p.Changes, "AggregatorMapping") != "Modify Conditional" {
		t.Errorf("%+v", p)
	}
	// The bucket of the code would stay behind if it were full.
	c.deploy(t, stack.Declaration{Keep: true, Parameters: map[string]string{"EnableAggregator": "false"}})
	if got := c.Objects(c.config.Name, "CodeBucket"); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
	// It comes back in two steps, as the bucket has to be there first.
	r := c.deploy(t, stack.Declaration{Keep: true, Code: code(t, "1"), Parameters: map[string]string{"EnableAggregator": "true"}})
	if r.State.Outputs["AggregatorName"] == "" || len(c.Objects(c.config.Name, "CodeBucket")) != 1 {
		t.Errorf("%+v", r.State)
	}
}

// A creation that fails says why, leaves nothing, and is cleared away when
// somebody agrees.
func TestFailedCreation(t *testing.T) {
	c := newCloud(t)
	c.Fail("ServePolicy", "API: iam:CreatePolicy User is not authorized")
	d := stack.Declaration{Code: code(t, "1"), Approve: c.agree}
	_, err := c.stack(t).Deploy(t.Context(), d)
	if !errors.Is(err, stack.ErrFailed) {
		t.Fatal(err)
	}
	says(t, err, "ServePolicy (AWS::IAM::ManagedPolicy): API: iam:CreatePolicy User is not authorized", "ROLLBACK_COMPLETE")
	if strings.Contains(err.Error(), "cancelled") {
		t.Errorf("%v names consequences", err)
	}
	if _, err := dynamostore.Inspect(t.Context(), dynamostore.Config{AWS: c.config.AWS, Table: c.config.Name, EndpointURL: c.URL}); err == nil {
		t.Error("the table is still there")
	}
	c.Fail("ServePolicy", "")
	refused := errors.New("refused")
	d.Approve = func(p stack.Plan) error {
		must(t, c.agree(p))
		return refused
	}
	if _, err := c.stack(t).Deploy(t.Context(), d); !errors.Is(err, refused) || c.last().Kind != stack.Clear || !c.last().Asks() {
		t.Errorf("%v, %+v", err, c.last())
	}
	if c.Status(c.config.Name) != "ROLLBACK_COMPLETE" {
		t.Error(c.Status(c.config.Name))
	}
	d.Approve = nil // nothing is lost of it
	r, err := c.stack(t).Deploy(t.Context(), d)
	must(t, err)
	if !r.Created || r.State.Parameters["DeletionProtection"] != "true" {
		t.Errorf("%+v", r)
	}
}

// A second step that fails leaves the first, and the next deployment goes on
// from there, with what was asked for first.
func TestFailedSecondStep(t *testing.T) {
	c := newCloud(t)
	c.Fail("AggregatorRole", "API: iam:CreateRole User is not authorized")
	_, err := c.stack(t).Deploy(t.Context(), stack.Declaration{Keep: true, Code: code(t, "1")})
	if !errors.Is(err, stack.ErrFailed) {
		t.Fatal(err)
	}
	says(t, err, "AggregatorRole", "UPDATE_ROLLBACK_COMPLETE")
	if got := c.stack(t).Look(t.Context(), nil).Problems(); !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, "isn't whole") }) {
		t.Errorf("%q", got)
	}
	c.Fail("AggregatorRole", "")
	r := c.deploy(t, stack.Declaration{Keep: true, Code: code(t, "1")})
	if r.Created || r.State.Parameters["DeletionProtection"] != "true" || r.State.Outputs["AggregatorName"] == "" {
		t.Errorf("%+v", r)
	}
}

// A deployment that is interrupted anywhere is taken up by the next.
func TestResume(t *testing.T) {
	c := newCloud(t)
	d := stack.Declaration{Keep: true, Code: code(t, "1"), Approve: c.agree}
	for _, n := range []int{1, 20, 30, 20} {
		ctx, cancel := context.WithCancel(t.Context())
		config := c.config
		config.Event = func(e stack.Event) {
			c.config.Event(e)
			if n--; n == 0 {
				cancel()
			}
		}
		s, err := stack.New(config)
		must(t, err)
		if _, err := s.Deploy(ctx, d); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		s.Close()
		cancel()
	}
	r := c.deploy(t, d)
	if r.State.Parameters["DeletionProtection"] != "true" || r.State.Outputs["AggregatorName"] == "" {
		t.Errorf("%+v", r.State)
	}
	if got := c.Calls("ExecuteChangeSet"); got != 2 {
		t.Errorf("%d change sets were executed", got)
	}

	c.Begin(c.config.Name) // somebody else has begun
	r = c.deploy(t, stack.Declaration{Keep: true, Parameters: map[string]string{"UsageRetentionDays": "30"}})
	if r.State.Parameters["UsageRetentionDays"] != "30" {
		t.Errorf("%+v", r.State)
	}
}

// Several who deploy at once end with one stack.
func TestDeployTogether(t *testing.T) {
	c := newCloud(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := c.stack(t).Deploy(t.Context(), stack.Declaration{Code: code(t, "1")}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := c.Calls("ExecuteChangeSet"); got > 8 {
		t.Errorf("%d change sets were executed", got)
	}
}

// CloudFormation's throttling delays, and nothing more.
func TestThrottled(t *testing.T) {
	c := newCloud(t)
	config := c.config
	config.Event = func(e stack.Event) {
		if e.Resource == "Table" {
			c.Throttle(2)
		}
	}
	s, err := stack.New(config)
	must(t, err)
	defer s.Close()
	_, err = s.Deploy(t.Context(), stack.Declaration{Parameters: map[string]string{"EnableAggregator": "false", "DeletionProtection": "false"}})
	must(t, err)
}

// The last step isn't waited for when nobody wants to.
func TestNoWait(t *testing.T) {
	c := newCloud(t)
	r := c.deploy(t, stack.Declaration{Keep: true, Code: code(t, "1"), NoWait: true})
	if r.Waited || !r.Created {
		t.Errorf("%+v", r)
	}
	r = c.deploy(t, stack.Declaration{Keep: true, Code: code(t, "1")})
	if len(r.Changes) > 0 || r.State.Parameters["DeletionProtection"] != "true" {
		t.Errorf("%+v", r)
	}
}

// What can't be is refused before anything is made.
func TestRefused(t *testing.T) {
	c := newCloud(t)
	for _, name := range []string{"", "ab", "a_b", "1abc", strings.Repeat("a", 54)} {
		config := c.config
		config.Name = name
		if _, err := stack.New(config); !errors.Is(err, stack.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	s := c.stack(t)
	if _, err := s.Deploy(t.Context(), stack.Declaration{}); !errors.Is(err, stack.ErrNoCode) {
		t.Error(err)
	}
	if _, err := s.Deploy(t.Context(), stack.Declaration{Code: code(t, "1"), Parameters: map[string]string{"EnableIam": "false"}}); !errors.Is(err, stack.ErrInvalid) {
		t.Error(err)
	}
	refused := errors.New("refused")
	d := stack.Declaration{Code: code(t, "1"), Approve: func(stack.Plan) error { return refused }}
	if _, err := s.Deploy(t.Context(), d); !errors.Is(err, refused) || c.Status(c.config.Name) != "" {
		t.Errorf("%v, %s", err, c.Status(c.config.Name))
	}
	c.Foreign(c.config.Name)
	if _, err := s.Deploy(t.Context(), d); !errors.Is(err, stack.ErrTaken) {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), nil); !errors.Is(err, stack.ErrTaken) || c.Status(c.config.Name) != "CREATE_COMPLETE" {
		t.Error(err)
	}
	says(t, errors.New(strings.Join(s.Look(t.Context(), nil).Problems(), ";")), "is not one of this program's")
}

// Who may deploy and not write to the table gets a stack, and is told what is
// missing.
func TestNotRegistered(t *testing.T) {
	c := newCloud(t)
	c.Deny("TransactWriteItems")
	d := stack.Declaration{Code: code(t, "1"), Approve: c.agree}
	_, err := c.stack(t).Deploy(t.Context(), d)
	says(t, err, "is deployed, but the namespace \"default\" could not be registered")
	if e := new(stack.Error); !errors.As(err, &e) || !strings.Contains(e.Hint, "extauthz namespace register default --stack") {
		t.Error(err)
	}
	st, err := c.stack(t).State(t.Context())
	must(t, err)
	if st.Outputs["AggregatorName"] == "" || st.Parameters["DeletionProtection"] != "true" {
		t.Errorf("%+v", st)
	}
	c.Deny("")
	c.deploy(t, d)
	isRegistered(t, c)
}

// A table that no stack has keeps its name.
func TestTakenByATable(t *testing.T) {
	c := newCloud(t)
	s := c.stack(t)
	table, err := dynamostore.Open(t.Context(), dynamostore.Config{AWS: c.config.AWS, Table: c.config.Name, EndpointURL: c.URL, Create: true, KeepWarm: -1})
	must(t, err)
	must(t, table.Close())
	if _, err := s.Deploy(t.Context(), stack.Declaration{Code: code(t, "1")}); !errors.Is(err, stack.ErrTaken) {
		t.Error(err)
	}
}

func TestReadCode(t *testing.T) {
	for _, test := range []struct {
		name string
		zip  []byte
		want string
	}{
		{"no zip", []byte("x"), "can't be read"},
		{"no program", zipped(t, "main", elf.EM_AARCH64, ""), "has no program bootstrap"},
		{"another machine", zipped(t, "bootstrap", elf.EM_RISCV, ""), "is for EM_RISCV"},
	} {
		_, err := stack.ReadCode(test.zip)
		if !errors.Is(err, stack.ErrInvalid) {
			t.Errorf("%s: %v", test.name, err)
		}
		says(t, err, test.want)
	}
	c, err := stack.ReadCode(zipped(t, "bootstrap", elf.EM_X86_64, ""))
	must(t, err)
	if c.Architecture() != "x86_64" {
		t.Error(c.Architecture())
	}
}
