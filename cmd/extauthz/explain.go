package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/server"
)

// explainFlags are the flags of explain.
type explainFlags struct {
	config, server string
	exitCode       bool
	form           *output

	domain      string
	descriptors []string
	hits        uint64

	method, scheme, host, path string
	headers, extensions        []string
	address, principal         string
	sans                       []string
	metadata, routeMetadata    string
}

func newExplain() *cobra.Command {
	c := &cobra.Command{
		Use:   "explain (-c FILE | --server ADDRESS) (--domain D --descriptor K=V[,K=V] ... | --path P ...)",
		Short: "How a request would be decided, and why",
		Long: `explain says which rules are passed over and why, which one takes a request,
which entity and resource that makes, which limits apply and from which level,
and the decision. Nothing is charged.

The request is either descriptors, as Envoy's rate limit filter sends them, or
an HTTP request, as ext_authz does. Every bucket is taken to be full, unless
--server names the admin port of a running service: then that service's
configuration and balances are used.

In a descriptor a comma or backslash in a value is written with a backslash
before it.`,
		Example: `  extauthz explain -c extauthz.yaml --domain edge --descriptor tenant=acme
  extauthz explain -c extauthz.yaml --method GET --path '/search?q=x' --header x-tenant:acme
  extauthz explain --server 127.0.0.1:6070 --domain edge --descriptor tenant=acme`,
		Args: noArgs,
	}
	var f explainFlags
	fs := c.Flags()
	fs.StringVarP(&f.config, "config", "c", "", "configuration `file`")
	fs.StringVar(&f.server, "server", "", "admin `address` of a running service: host:port or unix:/path")
	fs.BoolVar(&f.exitCode, "exit-code", false, "exit with 3 when the request would be denied")
	fs.StringVar(&f.domain, "domain", "", "the rate limit `domain`")
	fs.StringArrayVar(&f.descriptors, "descriptor", nil, "a descriptor, `K=V[,K=V]`; again for more of them")
	fs.Uint64Var(&f.hits, "hits", 1, "what each descriptor asks for; 0 looks")
	fs.StringVar(&f.method, "method", "", "the HTTP `method` (default GET)")
	fs.StringVar(&f.scheme, "scheme", "", "the `scheme` (default http)")
	fs.StringVar(&f.host, "host", "", "the `host`")
	fs.StringVar(&f.path, "path", "", "the `path`, with its query")
	fs.StringArrayVar(&f.headers, "header", nil, "a header, `NAME:VALUE`; again for more of them")
	fs.StringArrayVar(&f.extensions, "context-extension", nil, "a context extension, `K=V`; again for more of them")
	fs.StringVar(&f.address, "source-address", "127.0.0.1", "the peer's `address`")
	fs.StringVar(&f.principal, "source-principal", "", "the peer's `principal`, from its certificate")
	fs.StringArrayVar(&f.sans, "source-san", nil, "a subject alternative `name` in the peer's certificate; again for more of them")
	fs.StringVar(&f.metadata, "metadata", "", "dynamic metadata by filter, a `JSON` object")
	fs.StringVar(&f.routeMetadata, "route-metadata", "", "the route's metadata, a `JSON` object")
	f.form = addOutput(c)
	c.RunE = f.run
	return c
}

// run explains, and prints it.
func (f *explainFlags) run(c *cobra.Command, _ []string) error {
	if err := checkForm(c.Flags().Changed); err != nil {
		return err
	}
	q, err := f.question(c.Flags().Changed("hits"))
	if err != nil {
		return err
	}
	e, err := f.explain(c.Context(), c.ErrOrStderr(), q)
	if err != nil {
		return err
	}
	if *f.form == asJSON {
		err = printJSON(c.OutOrStdout(), e)
	} else {
		err = printExplanation(c.OutOrStdout(), q, e)
	}
	if err != nil || !f.exitCode {
		return err
	}
	switch e.Verdict {
	case "allow":
		return nil
	case "unavailable":
		return &failure{text: "there is no decision: " + e.Error, status: exitFailed}
	}
	return &failure{status: exitDenied}
}

// checkForm refuses flags that don't go together.
func checkForm(given func(flag string) bool) error {
	const forms = "a request is --domain with --descriptor, or --path"
	first := func(flags ...string) string {
		if i := slices.IndexFunc(flags, given); i >= 0 {
			return flags[i]
		}
		return ""
	}
	descriptor := first("domain", "descriptor", "hits")
	http := first("path", "method", "scheme", "host", "header", "context-extension",
		"source-address", "source-principal", "source-san", "metadata", "route-metadata")
	switch {
	case given("config") && given("server"):
		return usage("leave one out", "-c explains by a file, --server by what a service has loaded")
	case !given("config") && !given("server"):
		return usage("name a file with -c, or a running service with --server", "nothing says how to decide")
	case descriptor != "" && http != "":
		return usage(forms, "--%s is of a descriptor, --%s of an HTTP request", descriptor, http)
	case http == "" && (!given("domain") || !given("descriptor")), descriptor == "" && !given("path"):
		return usage(forms, "there is no request to explain")
	}
	return nil
}

// explain asks a running service, or explains by the file.
func (f *explainFlags) explain(ctx context.Context, stderr io.Writer, q *admin.Question) (*admin.Explanation, error) {
	if f.server != "" {
		e, err := admin.NewClient(f.server).Explain(ctx, q)
		return e, told(err, "")
	}
	loaded, report := config.Load(f.config, config.Options{LeaveFiles: true})
	if report.Err() != nil {
		if *f.form == asTable {
			printf(stderr, "%s", report)
		}
		return nil, invalid(f.config, report)
	}
	return server.Explain(ctx, loaded, q)
}

// question is the request that the flags make.
func (f *explainFlags) question(hits bool) (*admin.Question, error) {
	q := &admin.Question{
		Domain: f.domain, Method: f.method, Scheme: f.scheme, Host: f.host, Path: f.path,
		SourceAddress: f.address, SourcePrincipal: f.principal, SourceSANs: f.sans,
	}
	for _, text := range f.descriptors {
		d, err := parseDescriptor(text)
		if err != nil {
			return nil, err
		}
		if hits {
			d.Hits = &f.hits
		}
		q.Descriptors = append(q.Descriptors, d)
	}
	var err error
	if q.Headers, err = parsePairs("--header", f.headers, ":"); err != nil {
		return nil, err
	}
	if q.ContextExtensions, err = parsePairs("--context-extension", f.extensions, "="); err != nil {
		return nil, err
	}
	if q.Metadata, err = parseObject("--metadata", f.metadata); err != nil {
		return nil, err
	}
	q.RouteMetadata, err = parseObject("--route-metadata", f.routeMetadata)
	return q, err
}

// parseDescriptor reads K=V[,K=V]; a backslash takes the next character as it
// is.
func parseDescriptor(text string) (admin.Descriptor, error) {
	var d admin.Descriptor
	var key, part strings.Builder
	hasKey := false
	end := func() error {
		if !hasKey || key.Len() == 0 {
			return fmt.Errorf("--descriptor %q is not K=V[,K=V]", text)
		}
		d.Entries = append(d.Entries, admin.Entry{Key: key.String(), Value: part.String()})
		key.Reset()
		part.Reset()
		hasKey = false
		return nil
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			part.WriteByte(text[i])
		case c == ',':
			if err := end(); err != nil {
				return d, err
			}
		case c == '=' && !hasKey:
			key.WriteString(part.String())
			part.Reset()
			hasKey = true
		default:
			part.WriteByte(c)
		}
	}
	return d, end()
}

// parsePairs reads texts of a name, a separator and a value.
func parsePairs(flag string, texts []string, separator string) (map[string]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	pairs := make(map[string]string, len(texts))
	for _, text := range texts {
		name, value, ok := strings.Cut(text, separator)
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, fmt.Errorf("%s %q is not NAME%sVALUE", flag, text, separator)
		}
		pairs[name] = strings.TrimSpace(value)
	}
	return pairs, nil
}

// parseObject reads an object of JSON; empty text is none.
func parseObject(flag, text string) (map[string]any, error) {
	if text == "" {
		return nil, nil
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return nil, fmt.Errorf("%s is no object of JSON: %w", flag, err)
	}
	return object, nil
}
