package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The actions on a bucket by hand.
const (
	ActionReset = "reset"
	ActionTopUp = "top-up"
)

// Operation is a change of one bucket by hand: a reset fills its limits, a
// top-up adds to them what fits.
type Operation struct {
	// ID is the same for a repetition, which is not made again.
	ID       string `json:"id"`
	Action   string `json:"action"` // reset or top-up
	Entity   string `json:"entity"`
	Resource string `json:"resource"`
	// Limits are those that a reset fills; none: all.
	Limits []string `json:"limits,omitempty"`
	// Add is what a top-up adds, in whole tokens.
	Add map[string]int64 `json:"add,omitempty"`
}

// operationRequest is an operation, and who makes it.
type operationRequest struct {
	Operation
	cause
}

// Operated is what came of an operation.
type Operated struct {
	ID       string `json:"id"`
	Action   string `json:"action"`
	Entity   string `json:"entity"`
	Resource string `json:"resource"`
	// Repeated is true where the operation was made before.
	Repeated bool `json:"repeated"`
	// Absent is true where there was no bucket: its limits are full.
	Absent  bool     `json:"absent"`
	Balance *Balance `json:"balance"` // what is left now
}

// bank is a store of buckets that can be changed by hand.
type bank interface {
	hierarchy.Operator
	Get(ctx context.Context, k ratelimit.Key) (ratelimit.State, error)
}

// operateTries is how often an operation is planned anew because its bucket has
// changed in between.
const operateTries = 8

// operate makes an operation, and looks at what is left then.
func operate(ctx context.Context, b bank, l decision.Limiter, r ratelimit.Resolver, namespace string, o *Operation, c hierarchy.Cause) (*Operated, error) {
	key, err := ratelimit.NewKey(namespace, o.Entity, o.Resource, "")
	if err != nil {
		return nil, err
	}
	op := &hierarchy.Operation{Cause: c, ID: o.ID, Action: o.Action, Detail: o.detail(), Key: key}
	done := &Operated{ID: o.ID, Action: o.Action, Entity: o.Entity, Resource: o.Resource}
	err = retry(ctx, b, l, namespace, o, op, done)
	var repeated *hierarchy.RepeatedError
	switch {
	case errors.As(err, &repeated) && repeated.Same(op):
		done.Repeated, done.Absent = true, false
	case repeated != nil:
		return nil, &Problem{Code: CodeConflict, Message: err.Error(), Hint: "another operation needs another --idempotency-key"}
	case err != nil:
		return nil, err
	}
	done.Balance, err = balance(ctx, l, r, namespace, &BalanceQuestion{Entity: o.Entity, Resource: o.Resource})
	return done, err
}

// retry plans and makes an operation until its bucket keeps still.
func retry(ctx context.Context, b bank, l decision.Limiter, namespace string, o *Operation, op *hierarchy.Operation, done *Operated) error {
	state, err := b.Get(ctx, op.Key)
	for try := 1; err == nil; try++ {
		op.Write, err = o.plan(op.Key, &state, ratelimit.StampOf(l.Now()))
		if err != nil {
			return err
		}
		done.Absent = op.Write == nil
		err = b.Operate(ctx, namespace, op)
		var refused *ratelimit.RefusedError
		if !errors.As(err, &refused) || try == operateTries {
			return err
		}
		state, err = refused.State, nil
	}
	return err
}

// plan is the write of an operation; nil where there is no bucket.
func (o *Operation) plan(k ratelimit.Key, s *ratelimit.State, now ratelimit.Stamp) (*ratelimit.Write, error) {
	switch {
	case o.Action == ActionReset && len(o.Add) > 0, o.Action == ActionTopUp && (len(o.Add) == 0 || len(o.Limits) > 0):
		return nil, &Problem{Code: CodeInvalidEdit, Message: "a reset names limits or none, a top-up says how much to add"}
	case o.Action != ActionReset && o.Action != ActionTopUp:
		return nil, &Problem{Code: CodeInvalidEdit, Message: fmt.Sprintf("there is no action %q", o.Action), Hint: "reset or top-up"}
	case !s.Exists:
		return nil, nil //nolint:nilnil // what is absent is full
	case o.Action == ActionReset:
		return ratelimit.PlanReset(k, s, now, slices.Compact(slices.Sorted(slices.Values(o.Limits))))
	}
	add := make([]ratelimit.Take, 0, len(o.Add))
	for _, name := range slices.Sorted(maps.Keys(o.Add)) {
		add = append(add, ratelimit.Take{Limit: name, Tokens: o.Add[name]})
	}
	return ratelimit.PlanTopUp(k, s, now, add)
}

// detail is what an operation does, for the audit.
func (o *Operation) detail() string {
	words := slices.Sorted(slices.Values(o.Limits))
	for _, name := range slices.Sorted(maps.Keys(o.Add)) {
		words = append(words, fmt.Sprintf("%s:%d", name, o.Add[name]))
	}
	if len(words) == 0 {
		return "all limits"
	}
	return strings.Join(words, " ")
}

// operate makes an operation for a caller.
func (h *handler) operate(c *call) (any, error) {
	q, err := body[operationRequest](c)
	if err != nil {
		return nil, err
	}
	b, ok := c.Store.(bank)
	if !ok {
		return nil, errNoStore
	}
	return operate(c.ctx(), b, h.Explainer.Limiter, h.Policy().Resolver, c.name(), &q.Operation, q.cause.cause())
}

// Operate makes an operation by hand.
func (c *Client) Operate(ctx context.Context, namespace string, o *Operation, by hierarchy.Cause) (*Operated, error) {
	path, err := of(namespace, "/operations")
	if err != nil {
		return nil, err
	}
	return post[*Operated](ctx, c, path, operationRequest{*o, causeOf(by)})
}

// Operate implements balances.
func (t table) Operate(ctx context.Context, namespace string, o *Operation, by hierarchy.Cause) (*Operated, error) {
	var done *Operated
	err := t.with(ctx, namespace, func(l decision.Limiter, r ratelimit.Resolver) (err error) {
		done, err = operate(ctx, t.Store, l, r, namespace, o, by)
		return err
	})
	return done, err
}

// Operate makes an operation by hand, with an ID of its own where it has none.
func (s *Session) Operate(ctx context.Context, o *Operation) (*Operated, error) {
	if o.ID == "" {
		o.ID = hierarchy.NewOperationID()
	}
	return s.balances.Operate(ctx, s.namespace, o, s.cause(ctx))
}
