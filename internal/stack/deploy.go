package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/extauthz/extauthz/internal/caller"
	"github.com/extauthz/extauthz/pkg/dynamostore"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Declaration says what is to be there.
type Declaration struct {
	// Parameters are the template's, by its names. Those left out are by
	// default.
	Parameters map[string]string
	// Tags are the stack's, beside its own.
	Tags map[string]string
	// Keep leaves parameters and tags that aren't named as they are.
	Keep bool
	// Code is the aggregator's; nil: what the stack has.
	Code *Code
	// Version is that of the program, to be seen in the stack; may be empty.
	Version string
	// Approve is shown each plan before it is carried out, and may refuse; nil
	// agrees to all that loses nothing.
	Approve func(Plan) error
	// NoWait doesn't wait for the last step.
	NoWait bool
}

// Result is how it went.
type Result struct {
	State   *State
	Created bool     // there was no stack before
	Changes []Change // of the last step; none: all was as declared
	Waited  bool     // until it had ended
}

// The template's parameters that a deployment sets by itself.
const (
	paramProtection = "DeletionProtection"
	paramAggregator = "EnableAggregator"
	paramIAM        = "EnableIam"
	paramRole       = "AggregatorRoleArn"
	paramBucket     = "AggregatorCodeBucket"
	paramKey        = "AggregatorCodeKey"
	paramArch       = "AggregatorArchitecture"

	resourceBucket  = "CodeBucket"
	resourceArchive = "AuditArchive"

	no  = "false"
	yes = "true"
)

// rounds bounds how often it is looked again: a deployment takes four at most,
// unless others work on the stack at the same time.
const rounds = 12

// Deploy has a stack be as it is declared, and registers the default namespace
// in its table. What others do to the stack meanwhile is waited for; the last
// declaration wins. It may be repeated after an interruption, and goes on from
// there. The errors are an [*Error], the context's and AWS's.
func (s *Stack) Deploy(ctx context.Context, d Declaration) (*Result, error) {
	if d.Approve == nil {
		d.Approve = careful
	}
	if d.Parameters[paramAggregator] != no && d.Parameters[paramIAM] == no && d.Parameters[paramRole] == "" && !d.Keep {
		return nil, &Error{Class: ErrInvalid, What: "without IAM the aggregator needs a role that exists", Hint: "name its role, or leave the aggregator out"}
	}
	r, pause := &Result{}, s.pause()
	for range rounds {
		done, err := s.step(ctx, &d, r)
		switch {
		case isBusy(err): // another was faster: look at what it does
			if err := pause.wait(ctx); err != nil {
				return nil, fmt.Errorf("waiting for the stack %q: %w", s.name, err)
			}
		case err != nil:
			return nil, err
		case done:
			return r, s.register(ctx)
		}
	}
	return nil, &Error{Class: ErrFailed, What: fmt.Sprintf("others keep changing the stack %q", s.name), Hint: "try again when they are done"}
}

// step takes the next step, and reports whether it was the last.
func (s *Stack) step(ctx context.Context, d *Declaration, r *Result) (done bool, err error) {
	st, err := s.State(ctx)
	switch {
	case errors.Is(err, ErrMissing):
		return false, s.create(ctx, d, r)
	case err != nil:
		return false, err
	case !st.ours():
		return false, st.refuseForeign()
	case st.inReview():
		return false, s.create(ctx, d, r)
	case st.atWork():
		_, _, err := s.follow(ctx, st.ID, "") // how it ends is looked at next
		return false, err
	case st.leftover():
		if err := d.Approve(Plan{Kind: Clear, Stack: *st}); err != nil {
			return false, err
		}
		return false, s.remove(ctx, st)
	case st.Status == "UPDATE_ROLLBACK_FAILED", st.Status == "UPDATE_FAILED":
		return false, s.failed("changing", st, nil)
	}
	return s.update(ctx, d, r, st)
}

// create makes a stack without what needs more than the template: the
// aggregator's code, and protection, which would be in the way of undoing it.
func (s *Stack) create(ctx context.Context, d *Declaration, r *Result) error {
	if err := s.mayCreate(ctx, d); err != nil {
		return err
	}
	parameters, tags := maps.Clone(d.Parameters), s.tags(d, nil)
	if parameters == nil {
		parameters = map[string]string{}
	}
	if cmp.Or(parameters[paramProtection], yes) == yes {
		tags[tagProtect] = yes
	}
	parameters[paramProtection] = no
	set, err := s.prepare(ctx, types.ChangeSetTypeCreate, d.Version, parameters, tags)
	if err != nil {
		return err
	}
	plan := Plan{Kind: Create, Stack: State{ID: set.stackID, Name: s.name}, Changes: set.changes}
	if err := d.Approve(plan); err != nil {
		return errors.Join(err, s.forget(ctx, set))
	}
	after, err := s.execute(ctx, set)
	if err != nil {
		return err
	}
	r.Created = true
	st, reasons, err := s.follow(ctx, set.stackID, after)
	if err == nil && st.Status != "CREATE_COMPLETE" {
		return s.failed("creating", st, reasons)
	}
	return err
}

// mayCreate refuses what would fail, before anything is made.
func (s *Stack) mayCreate(ctx context.Context, d *Declaration) error {
	if d.Parameters[paramAggregator] != no && d.Code == nil {
		return noCode()
	}
	if _, err := dynamostore.Inspect(ctx, s.table()); err == nil {
		if st, err := s.State(ctx); err == nil && !st.inReview() {
			return errAgain // somebody else has made it just now
		}
		return &Error{
			Class: ErrTaken, What: fmt.Sprintf("there is a table %q, and no stack that it belongs to", s.name),
			Hint: "take another name, or import the table into a stack (docs/operations.md, Backup and restore)",
		}
	}
	return nil // whatever it is, CloudFormation will say
}

func noCode() error {
	return &Error{
		Class: ErrNoCode, What: "this program was built without the aggregator's code",
		Hint: "give it the zip that `extauthz lambda-export` of a release writes, or leave the aggregator out: --aggregator-zip or --no-aggregator",
	}
}

// table is how the stack's table is opened.
func (s *Stack) table() dynamostore.Config {
	return dynamostore.Config{
		AWS: s.config.AWS, Table: s.name, EndpointURL: s.config.EndpointURL,
		Warm: 1, KeepWarm: -1, Recheck: -1, Register: []string{},
	}
}

// tags are those that a stack is to have.
func (s *Stack) tags(d *Declaration, st *State) map[string]string {
	tags := map[string]string{}
	if st != nil && d.Keep {
		maps.Copy(tags, st.Tags)
		maps.DeleteFunc(tags, func(key, _ string) bool { return strings.HasPrefix(key, "aws:") }) // AWS's own
	}
	maps.Copy(tags, d.Tags)
	delete(tags, tagProtect)
	tags[tagStack] = s.name
	return tags
}

// parameters are those that a stack is to have, but for the aggregator's code.
func (d *Declaration) parameters(st *State) map[string]string {
	p := map[string]string{}
	if d.Keep {
		for name := range parameters() {
			if v, ok := st.Parameters[name]; ok {
				p[name] = v
			}
		}
		if wanted := st.Tags[tagProtect]; wanted != "" {
			p[paramProtection] = wanted
		}
	} else {
		p[paramKey], p[paramArch] = st.Parameters[paramKey], cmp.Or(st.Parameters[paramArch], "arm64")
	}
	maps.Copy(p, d.Parameters)
	return p
}

// update changes a stack that is there, and reports whether it is whole then.
func (s *Stack) update(ctx context.Context, d *Declaration, r *Result, st *State) (whole bool, err error) {
	parameters := d.parameters(st)
	whole, err = s.code(ctx, d, st, parameters)
	if err != nil {
		return false, err
	}
	set, err := s.prepare(ctx, types.ChangeSetTypeUpdate, d.Version, parameters, s.tags(d, st))
	if err != nil {
		return false, err
	}
	r.State, r.Changes, r.Waited = st, set.changes, true
	if set.none {
		return whole, nil
	}
	if err := d.Approve(Plan{Kind: Update, Stack: *st, Changes: set.changes}); err != nil {
		return false, errors.Join(err, s.forget(ctx, set))
	}
	if err := s.emptyRemoved(ctx, set.changes); err != nil {
		return false, err
	}
	after, err := s.execute(ctx, set)
	if err != nil {
		return false, err
	}
	if d.NoWait && whole {
		r.Waited = false
		r.State, err = s.State(ctx)
		return true, err
	}
	now, reasons, err := s.follow(ctx, st.ID, after)
	if err == nil && now.Status != "UPDATE_COMPLETE" {
		return false, s.failed("changing", now, reasons)
	}
	r.State = now
	return whole, err
}

// code sees to the aggregator's code, and sets the parameters that name it. It
// reports whether the stack is whole with them: one without a bucket needs a
// step before, which makes that.
func (s *Stack) code(ctx context.Context, d *Declaration, st *State, p map[string]string) (whole bool, err error) {
	if p[paramAggregator] == no {
		p[paramKey] = ""
		return true, nil
	}
	if d.Code == nil {
		if p[paramKey] == "" {
			return false, noCode()
		}
		return true, nil
	}
	bucket := p[paramBucket]
	if bucket == "" {
		resources, err := s.resources(ctx)
		if err != nil {
			return false, err
		}
		bucket = aws.ToString(resources[resourceBucket].PhysicalResourceId)
		if bucket == "" {
			p[paramKey] = ""
			return false, nil
		}
	}
	key, before := p[paramKey], p[paramArch]
	p[paramKey], p[paramArch] = d.Code.key(), d.Code.arch
	if key == p[paramKey] && before == d.Code.arch && st.Parameters[paramBucket] == p[paramBucket] {
		return true, nil // it was put there before
	}
	return true, s.upload(ctx, d.Code, bucket)
}

// emptyRemoved empties the bucket of the code where it is to be removed:
// CloudFormation would leave it behind. The archive it leaves behind too, which
// is as well.
func (s *Stack) emptyRemoved(ctx context.Context, changes []Change) error {
	for _, c := range changes {
		if c.Action != "Remove" || c.Resource != resourceBucket {
			continue
		}
		resources, err := s.resources(ctx)
		if err != nil {
			return err
		}
		return s.empty(ctx, aws.ToString(resources[resourceBucket].PhysicalResourceId))
	}
	return nil
}

// register brings the table to the layout of this program, and registers the
// default namespace: who serves may do neither.
func (s *Stack) register(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = &Error{
				What: fmt.Sprintf("the stack %q is deployed, but the namespace %q could not be registered in its table", s.name, ratelimit.DefaultNamespace), Err: err,
				Hint: fmt.Sprintf("extauthz namespace register %s --stack %s, with the policy administer", ratelimit.DefaultNamespace, s.name),
			}
		}
	}()
	store, err := dynamostore.Open(ctx, s.table())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Upgrade(ctx); err != nil {
		return err
	}
	if _, err := store.Namespace(ctx, ratelimit.DefaultNamespace); !errors.Is(err, hierarchy.ErrUnknownNamespace) {
		return err
	}
	_, err = store.RegisterNamespace(ctx, ratelimit.DefaultNamespace, hierarchy.Cause{By: s.by(ctx), At: time.Now()})
	return err
}

// by is who deploys.
func (s *Stack) by(ctx context.Context) hierarchy.Actor {
	if s.config.EndpointURL == "" { // another has no STS beside it
		if arn, err := dynamostore.Caller(ctx, s.config.AWS); err == nil {
			return hierarchy.Actor{Caller: arn}
		}
	}
	return hierarchy.Actor{Caller: caller.OS()}
}
