package extauthz

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Options say what to open. What they leave empty comes from the environment,
// and what that leaves empty too is by default; the zero Options are the table
// "extauthz" of wherever the AWS configuration leads.
type Options struct {
	// Stack is the name of the deployment and of its table. Empty:
	// EXTAUTHZ_STACK, or "extauthz".
	Stack string
	// Namespace is the one of requests that name none. Empty:
	// EXTAUTHZ_NAMESPACE, or "default".
	Namespace string
	// Region is the AWS region of the table. Empty: EXTAUTHZ_REGION, or that of
	// the AWS configuration.
	Region string
	// EndpointURL is a DynamoDB elsewhere, such as a local one. Empty:
	// EXTAUTHZ_ENDPOINT_URL, or that of the region.
	EndpointURL string
	// Create makes the table alone where it is missing, without a stack around it.
	Create bool
	// Deploy makes the stack, or changes it to what is declared, and waits for
	// it; nil: what is there is connected to, and nothing there is an error.
	// EndpointURL, where there is one, is then an AWS with all of its services.
	Deploy *StackOptions
	// Register registers the namespace where it isn't. Without it that is an
	// error; "default" is registered without being asked.
	Register bool

	// Embedded keeps everything in this process, and asks neither AWS nor the
	// environment for a table.
	Embedded bool
	// Path is the file of an embedded store, and means Embedded; without one
	// nothing outlives the process.
	Path string

	// As is recorded in the audit beside whoever this process runs as, who
	// changes limits; empty: nobody.
	As string
	// MaxWritesPerSecond bounds the writes of this process to the table; 0 is
	// 2,000, below 0 is no bound.
	MaxWritesPerSecond float64
	// Log is told what the AWS SDK and the store have to say; nil: nobody is.
	Log *slog.Logger
	// Now is the clock that buckets are charged by; nil is time.Now.
	Now func() time.Time
}

// InvalidOptionsError says what is wrong with Options.
type InvalidOptionsError struct{ Reason string }

func (e *InvalidOptionsError) Error() string { return "extauthz: " + e.Reason }

const (
	defaultStack = "extauthz"

	envStack       = "EXTAUTHZ_STACK"
	envNamespace   = "EXTAUTHZ_NAMESPACE"
	envRegion      = "EXTAUTHZ_REGION"
	envEndpointURL = "EXTAUTHZ_ENDPOINT_URL"
)

// complete fills in what the options leave to the environment and to defaults.
func (o Options) complete(env func(string) string) (Options, error) {
	o.Embedded = o.Embedded || o.Path != ""
	if o.Embedded && (o.Stack != "" || o.Region != "" || o.EndpointURL != "" || o.Create || o.Deploy != nil) {
		return o, &InvalidOptionsError{"an embedded store has no Stack, Region, EndpointURL, Create and Deploy"}
	}
	if o.Create && o.Deploy != nil {
		return o, &InvalidOptionsError{"Create makes a table alone, Deploy a stack: leave one out"}
	}
	o.Namespace = cmp.Or(o.Namespace, env(envNamespace), ratelimit.DefaultNamespace)
	if err := ratelimit.CheckNamespace(o.Namespace); err != nil {
		return o, err
	}
	if !o.Embedded {
		o.Stack = cmp.Or(o.Stack, env(envStack), defaultStack)
		o.Region = cmp.Or(o.Region, env(envRegion))
		o.EndpointURL = cmp.Or(o.EndpointURL, env(envEndpointURL))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}
