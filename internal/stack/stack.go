package stack

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Config is what a Stack is made with.
type Config struct {
	// AWS has the region and the credentials.
	AWS aws.Config
	// Name is that of the stack and of its table.
	Name string
	// EndpointURL is an AWS elsewhere, such as a local one, with all of its
	// services; empty: that of the region.
	EndpointURL string
	// Poll is how often CloudFormation is asked how far it is, at first more
	// often; 0: 3s.
	Poll time.Duration
	// Event is told what happens while it is waited for; nil: nobody is.
	Event func(Event)
}

const defaultPoll = 3 * time.Second

// formation is what is used of CloudFormation.
type formation interface {
	DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error)
	DescribeStackEvents(context.Context, *cloudformation.DescribeStackEventsInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackEventsOutput, error)
	DescribeStackResources(context.Context, *cloudformation.DescribeStackResourcesInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourcesOutput, error)
	GetTemplate(context.Context, *cloudformation.GetTemplateInput, ...func(*cloudformation.Options)) (*cloudformation.GetTemplateOutput, error)
	CreateChangeSet(context.Context, *cloudformation.CreateChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.CreateChangeSetOutput, error)
	DescribeChangeSet(context.Context, *cloudformation.DescribeChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeChangeSetOutput, error)
	ExecuteChangeSet(context.Context, *cloudformation.ExecuteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.ExecuteChangeSetOutput, error)
	DeleteChangeSet(context.Context, *cloudformation.DeleteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteChangeSetOutput, error)
	DeleteStack(context.Context, *cloudformation.DeleteStackInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteStackOutput, error)
}

// buckets is what is used of S3.
type buckets interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
	DeleteObjects(context.Context, *s3.DeleteObjectsInput, ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error)
}

// Stack is a deployment, or the place for one. Make one with [New]. It may be
// used by several goroutines at once.
type Stack struct {
	name      string
	config    Config
	formation formation
	buckets   buckets
	metrics   metrics
	transport *http.Transport
}

// nameOf is what a stack may be called: CloudFormation's own rule, DynamoDB's
// least length, and as much as leaves room for the name of the aggregator.
var nameOf = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{2,52}$`)

// New makes a Stack of its name, whether there is one or not. The error matches
// [ErrInvalid]. The caller closes it.
func New(c Config) (*Stack, error) {
	if !nameOf.MatchString(c.Name) {
		return nil, &Error{
			Class: ErrInvalid, What: fmt.Sprintf("%q can't be the name of a stack", c.Name),
			Hint: "3 to 53 letters, digits and -, a letter first",
		}
	}
	return newStack(c), nil
}

func newStack(c Config) *Stack {
	if c.Poll == 0 {
		c.Poll = defaultPoll
	}
	if c.Event == nil {
		c.Event = func(Event) {}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() // as documented
	s := &Stack{name: c.Name, config: c, transport: transport}
	client := &http.Client{Transport: transport}
	// CloudFormation throttles early and for long.
	retryer := func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 5, 5*time.Second })
	}
	s.formation = cloudformation.NewFromConfig(c.AWS, func(o *cloudformation.Options) {
		o.HTTPClient, o.RetryMaxAttempts, o.Retryer = client, 0, retryer()
		if c.EndpointURL != "" {
			o.BaseEndpoint = &c.EndpointURL
		}
	})
	s.buckets = s3.NewFromConfig(c.AWS, func(o *s3.Options) {
		o.HTTPClient, o.RetryMaxAttempts, o.Retryer = client, 0, retryer()
		if c.EndpointURL != "" {
			o.BaseEndpoint, o.UsePathStyle = &c.EndpointURL, true
		}
	})
	s.metrics = cloudwatch.NewFromConfig(c.AWS, func(o *cloudwatch.Options) {
		o.HTTPClient, o.RetryMaxAttempts, o.Retryer = client, 0, retryer()
		if c.EndpointURL != "" {
			o.BaseEndpoint = &c.EndpointURL
		}
	})
	return s
}

// Close lets go of its connections.
func (s *Stack) Close() { s.transport.CloseIdleConnections() }

// State is what CloudFormation says of a stack.
type State struct {
	ID     string // its ARN
	Name   string
	Status string // CREATE_COMPLETE and the like
	Reason string // of the status, may be empty
	// Protected says that the stack itself is not to be deleted.
	Protected  bool
	CreatedAt  time.Time
	UpdatedAt  time.Time         // zero: never
	Parameters map[string]string // by the template's names
	Outputs    map[string]string // by the template's names
	Tags       map[string]string
}

// The tags of a stack.
const (
	tagStack   = "extauthz:stack"   // its name: this is how stacks are found
	tagProtect = "extauthz:protect" // of one that isn't whole: whether its table is to be protected
)

// State asks CloudFormation. The error matches [ErrMissing] where there is no
// such stack.
func (s *Stack) State(ctx context.Context) (*State, error) { return s.state(ctx, s.name) }

// state is that of a name, or of an ID, by which a deleted stack is known too.
func (s *Stack) state(ctx context.Context, id string) (*State, error) {
	out, err := s.formation.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &id})
	switch {
	case isMissing(err), err == nil && len(out.Stacks) == 0:
		return nil, &Error{Class: ErrMissing, What: fmt.Sprintf("there is no stack %q in %s", s.name, s.config.AWS.Region), Hint: "extauthz deploy --name " + s.name}
	case err != nil:
		return nil, fmt.Errorf("asking CloudFormation for the stack %q: %w", s.name, err)
	}
	return stateOf(&out.Stacks[0]), nil
}

func stateOf(st *types.Stack) *State {
	is := &State{
		ID: aws.ToString(st.StackId), Name: aws.ToString(st.StackName),
		Status: string(st.StackStatus), Reason: aws.ToString(st.StackStatusReason),
		Protected: aws.ToBool(st.EnableTerminationProtection),
		CreatedAt: aws.ToTime(st.CreationTime), UpdatedAt: aws.ToTime(st.LastUpdatedTime),
		Parameters: map[string]string{}, Outputs: map[string]string{}, Tags: map[string]string{},
	}
	for _, p := range st.Parameters {
		is.Parameters[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
	}
	for _, o := range st.Outputs {
		is.Outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	for _, t := range st.Tags {
		is.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return is
}

// atWork reports whether CloudFormation is doing something. A stack in review
// waits for somebody to agree to it.
func (st *State) atWork() bool {
	return strings.HasSuffix(st.Status, "_IN_PROGRESS") && !st.inReview()
}

// inReview reports whether nothing of the stack was made yet.
func (st *State) inReview() bool { return st.Status == "REVIEW_IN_PROGRESS" }

// ours reports whether the stack is one of the template, whoever deployed it.
func (st *State) ours() bool {
	_, has := st.Parameters[paramKey]
	return has || st.Tags[tagStack] == st.Name
}

// refuseForeign is the error of a stack that isn't ours.
func (st *State) refuseForeign() error {
	if st.ours() {
		return nil
	}
	return &Error{
		Class: ErrTaken, What: fmt.Sprintf("the stack %q (%s) is not one of this program's", st.Name, st.Status),
		Hint: "take another name; extauthz list says which are",
	}
}

// leftover reports whether the stack is what a creation or a deletion that
// failed has left: CloudFormation changes nothing of it any more.
func (st *State) leftover() bool {
	switch st.Status {
	case "CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED":
		return true
	}
	return false
}

// List are the stacks of this program in a region: those with the tag that
// Deploy gives them. Of c the name isn't used.
func List(ctx context.Context, c Config) ([]*State, error) {
	s := newStack(c)
	defer s.Close()
	all := []*State{}
	for in := new(cloudformation.DescribeStacksInput); ; {
		out, err := s.formation.DescribeStacks(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("listing the stacks in %s: %w", c.AWS.Region, err)
		}
		for i := range out.Stacks {
			if st := stateOf(&out.Stacks[i]); st.Tags[tagStack] == st.Name {
				all = append(all, st)
			}
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return all, nil
		}
	}
}

// resources are those of the stack, by their names in the template.
func (s *Stack) resources(ctx context.Context) (map[string]types.StackResource, error) {
	out, err := s.formation.DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: &s.name})
	if err != nil {
		return nil, fmt.Errorf("asking what the stack %q consists of: %w", s.name, err)
	}
	all := map[string]types.StackResource{}
	for _, r := range out.StackResources {
		all[aws.ToString(r.LogicalResourceId)] = r
	}
	return all, nil
}
