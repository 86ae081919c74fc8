package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Event is one thing that has happened to a stack, or to a part of it.
type Event struct {
	At       time.Time
	Resource string // its name in the template; the stack's for the stack itself
	Type     string // AWS::DynamoDB::Table and the like
	Status   string // CREATE_IN_PROGRESS and the like
	Reason   string // may be empty

	id, of string // its own, and the resource's
}

// failure reports whether it is what an operation failed by, and no consequence.
func (e *Event) failure() bool {
	return strings.HasSuffix(e.Status, "_FAILED") && !strings.Contains(e.Reason, "cancelled") &&
		e.Type != "AWS::CloudFormation::Stack"
}

// begins reports whether it is the first of an operation on a stack.
func (e *Event) begins(stackID string) bool {
	switch e.Status {
	case "CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS":
		return e.of == stackID
	}
	return false
}

// lastEvent is the newest event of a stack; empty: there is none.
func (s *Stack) lastEvent(ctx context.Context, id string) (string, error) {
	out, err := s.formation.DescribeStackEvents(ctx, &cloudformation.DescribeStackEventsInput{StackName: &id})
	if err != nil {
		return "", fmt.Errorf("asking what happened to the stack %q: %w", s.name, err)
	}
	if len(out.StackEvents) == 0 {
		return "", nil
	}
	return aws.ToString(out.StackEvents[0].EventId), nil
}

// events are those after one, the oldest first; where after is empty, those of
// the last operation.
func (s *Stack) events(ctx context.Context, id, after string) ([]Event, error) {
	var found []Event
	in := &cloudformation.DescribeStackEventsInput{StackName: &id}
	for more := true; more; {
		out, err := s.formation.DescribeStackEvents(ctx, in)
		if isMissing(err) { // it is gone, and so are they
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("asking what happens to the stack %q: %w", s.name, err)
		}
		in.NextToken = out.NextToken
		more = in.NextToken != nil
		for i := range out.StackEvents {
			e := eventOf(&out.StackEvents[i])
			if e.id == after {
				more = false
				break
			}
			found = append(found, e)
			if after == "" && e.begins(id) {
				more = false
				break
			}
		}
	}
	slices.Reverse(found)
	return found, nil
}

func eventOf(e *types.StackEvent) Event {
	return Event{
		At: aws.ToTime(e.Timestamp), Resource: aws.ToString(e.LogicalResourceId), Type: aws.ToString(e.ResourceType),
		Status: string(e.ResourceStatus), Reason: aws.ToString(e.ResourceStatusReason),
		id: aws.ToString(e.EventId), of: aws.ToString(e.PhysicalResourceId),
	}
}

// mustBegin is how long an operation that was accepted may take to be seen.
const mustBegin = time.Minute

// follower is what is known of an operation that is waited for.
type follower struct {
	s         *Stack
	id, after string  // the stack's, and the newest event that was told
	begun     bool    // something was told
	reasons   []Event // what failed
}

// tell tells the events since the last time.
func (f *follower) tell(ctx context.Context) error {
	found, err := f.s.events(ctx, f.id, f.after)
	for i := range found {
		f.begun, f.after = true, found[i].id
		f.s.config.Event(found[i])
		if found[i].failure() {
			f.reasons = append(f.reasons, found[i])
		}
	}
	return err
}

// follow waits for the end of an operation, tells its events as they come, and
// returns how the stack is then and what failed. after is the newest event
// before it; empty: the operation is under way, and its events are told from
// its beginning.
func (s *Stack) follow(ctx context.Context, id, after string) (*State, []Event, error) {
	f := &follower{s: s, id: id, after: after, begun: after == ""}
	begin, patience, pause := time.Now(), 10, s.pause()
	for {
		// Before the state, or an end could be that of the operation before.
		err := f.tell(ctx)
		var st *State
		if err == nil {
			st, err = s.state(ctx, id)
		}
		switch {
		case passing(err) && patience > 0: // it goes on, whoever looks
			patience--
		case errors.Is(err, ErrMissing):
			return &State{ID: id, Status: "DELETE_COMPLETE"}, nil, nil
		case err != nil:
			return nil, nil, err
		case st.Status == "DELETE_COMPLETE": // of a stack that was never made without an event
			err := f.tell(ctx)
			return st, nil, err
		case f.begun && !st.atWork() && !st.inReview():
			err := f.tell(ctx)
			return st, f.reasons, err
		case !f.begun && time.Since(begin) > mustBegin:
			return nil, nil, &Error{Class: ErrFailed, What: fmt.Sprintf("CloudFormation has not begun with the stack %q", s.name), Hint: "extauthz status --name " + s.name}
		}
		if err := pause.wait(ctx); err != nil {
			return nil, nil, fmt.Errorf("waiting for the stack %q, which goes on by itself: %w", s.name, err)
		}
	}
}

// pause waits between one question and the next, longer each time: much is done
// at once, and what isn't takes minutes.
type pause struct{ next, most time.Duration }

func (s *Stack) pause() *pause { return &pause{next: s.config.Poll / 64, most: s.config.Poll} }

// wait waits until it is time to ask again.
func (p *pause) wait(ctx context.Context) error {
	t := time.NewTimer(p.next)
	defer t.Stop()
	p.next = min(2*p.next, p.most)
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
