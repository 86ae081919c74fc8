package main

import (
	"cmp"
	"errors"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/stack"
	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// defaultStack is deployed and looked at where nothing names another.
const defaultStack = "extauthz"

// place says which deployment a command is about.
type place struct{ name, region, endpoint string }

// addPlace adds the flags that say which deployment.
func addPlace(c *cobra.Command, named bool) *place {
	var p place
	if named {
		c.Flags().StringVar(&p.name, "stack", "", "`name` of the deployment and of its table; --name says it too (also EXTAUTHZ_STACK)")
		c.Flags().SetNormalizeFunc(nameIsStack)
	}
	c.Flags().StringVar(&p.region, "region", "", "AWS `region` (also EXTAUTHZ_REGION; default that of the AWS configuration)")
	c.Flags().StringVar(&p.endpoint, "endpoint-url", "", "`URL` of an AWS elsewhere, with all of its services (also EXTAUTHZ_ENDPOINT_URL)")
	return &p
}

// config is where that leads. The name may be empty.
func (p *place) config(c *cobra.Command) (stack.Config, error) {
	endpoint := cmp.Or(p.endpoint, os.Getenv("EXTAUTHZ_ENDPOINT_URL"))
	if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Host == "") {
		return stack.Config{}, usage("as in http://localhost:5000", "--endpoint-url: %q is not the URL of a server", endpoint)
	}
	region := cmp.Or(p.region, os.Getenv("EXTAUTHZ_REGION"), os.Getenv("EXTAUTHZ_STORE_REGION"))
	aws, err := dynamostore.LoadAWS(c.Context(), region, nil)
	if err != nil {
		return stack.Config{}, told(err, "")
	}
	return stack.Config{AWS: aws, Name: cmp.Or(p.name, os.Getenv("EXTAUTHZ_STACK")), EndpointURL: endpoint}, nil
}

// onStack calls f with the deployment that a command is about, whose events it
// prints.
func (p *place) onStack(c *cobra.Command, form output, f func(*stack.Stack) error) error {
	config, err := p.config(c)
	if err != nil {
		return err
	}
	config.Name = cmp.Or(config.Name, defaultStack)
	if form == asTable {
		config.Event = func(e stack.Event) {
			printf(c.ErrOrStderr(), "%s  %-24s %-22s %s\n", e.At.Local().Format("15:04:05"), e.Status, shown(e.Resource), e.Reason)
		}
	}
	s, err := stack.New(config)
	if err != nil {
		return toldOfStack(err)
	}
	defer s.Close()
	return toldOfStack(f(s))
}

// The codes of errors about deployments.
const (
	codeNotDeployed = "not_deployed"
	codeNoCode      = "no_aggregator_code"
	codeTaken       = "name_taken"
	codeStackFailed = "deploy_failed"
	codeProtected   = "protected"
	codeWouldLose   = "would_lose"
)

// toldOfStack is an error about a deployment as a failure.
func toldOfStack(err error) error {
	var e *stack.Error
	if !errors.As(err, &e) {
		return told(err, "")
	}
	f := &failure{code: codeFailed, text: err.Error(), hint: e.Hint, status: exitFailed}
	for class, code := range map[error]string{
		stack.ErrMissing: codeNotDeployed, stack.ErrInvalid: codeUsage, stack.ErrNoCode: codeNoCode, stack.ErrTaken: codeTaken,
		stack.ErrFailed: codeStackFailed, stack.ErrProtected: codeProtected, stack.ErrLoss: codeWouldLose,
	} {
		if errors.Is(e, class) {
			f.code = code
		}
	}
	return f
}
