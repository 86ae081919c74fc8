package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// envPrefix begins the name of every environment variable of ours.
const envPrefix = "EXTAUTHZ_"

// setting is a scalar of the process: it can come from a flag, the environment
// or the file, and the first of these that says it wins.
type setting struct {
	key   string // in the file, with dots
	flag  string // empty: none
	usage string // of the flag
	def   string
	short string // of the environment variable that says it too, without the prefix
	of    string // the type of store that it is for; empty: any
	// set checks a value and takes it; complaint is empty when it is right.
	set func(c *checked, value string) (complaint, hint string)
}

// checked is a Config under way.
type checked struct {
	Config
	clientIP string
}

// env are the environment variables of a setting; the first that is set counts.
func (s *setting) env() []string {
	long := envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
	if s.short == "" {
		return []string{long}
	}
	return []string{envPrefix + s.short, long}
}

// settings are all that can be set, with their defaults.
func settings() []setting {
	return slices.Concat(storeSettings(), httpSettings(), tlsSettings(), []setting{
		{
			key: "listen.grpc", flag: "grpc", def: ":8081", usage: "`address` for gRPC: host:port, [::1]:port or unix:/path",
			set: func(c *checked, v string) (string, string) {
				c.Listen.GRPC = v
				if v == "" {
					return "the gRPC address can't be off: nothing would be served", ""
				}
				return checkAddress(v)
			},
		},
		{
			key: "listen.metrics", flag: "metrics", def: ":9090", usage: "`address` for metrics and probes; empty is off",
			set: func(c *checked, v string) (string, string) {
				c.Listen.Metrics = v
				return checkAddress(v)
			},
		},
		{
			key: "listen.admin", flag: "admin", def: "127.0.0.1:6070", usage: "`address` for explain and the log level; empty is off",
			set: func(c *checked, v string) (string, string) {
				c.Listen.Admin = v
				return checkAddress(v)
			},
		},
		{
			key: "namespace", flag: "namespace", def: "default", usage: "`name` of the namespace of rules that name none",
			set: func(c *checked, v string) (string, string) {
				c.Namespace = v
				if err := ratelimit.CheckNamespace(v); err != nil {
					return err.Error(), ""
				}
				return "", ""
			},
		},
		{key: "log.level", flag: "log-level", def: "info", usage: "least `level` of what is logged: debug, info, warn or error", set: setLogLevel},
		{
			key: "log.format", flag: "log-format", def: "text", usage: "`form` of the log: text or json",
			set: func(c *checked, v string) (string, string) {
				c.Log.Format = v
				return oneOf(v, "text", "json")
			},
		},
		{key: "charge.slack", def: "50ms", set: setSlack},
		{key: "decision_timeout", def: "auto", set: setTimeout},
		{
			key: "on_unavailable", def: "error",
			set: func(c *checked, v string) (complaint, hint string) {
				c.OnUnavailable, complaint, hint = fallback(v)
				return complaint, hint
			},
		},
		{key: "local_share", def: "0.1", set: setLocalShare},
		headersSetting(),
		ratelimitSetting(),
		{
			key: "dynamic_metadata", def: "true",
			set: func(c *checked, v string) (string, string) {
				c.DynamicMetadata = v == "true"
				return oneOf(v, "true", "false")
			},
		},
		{
			key: "no_match", def: "allow",
			set: func(c *checked, v string) (string, string) {
				c.DenyNoMatch = v == "deny"
				return oneOf(v, "allow", "deny")
			},
		},
		{
			key: "client_ip", def: "peer",
			set: func(c *checked, v string) (string, string) {
				c.clientIP = v // the rules' compiler checks it
				return "", ""
			},
		},
	})
}

// oneOf complains of a value that isn't among those that are known.
func oneOf(v string, known ...string) (complaint, hint string) {
	for _, k := range known {
		if v == k {
			return "", ""
		}
	}
	if len(known) == 1 {
		return fmt.Sprintf("%q is not %s", v, known[0]), nearest(v, known)
	}
	return fmt.Sprintf("%q is not one of %s", v, strings.Join(known, ", ")), nearest(v, known)
}

// fallback reads what to answer when the store doesn't.
func fallback(v string) (f ratelimit.Fallback, complaint, hint string) {
	f, _ = ratelimit.ParseFallback(v)
	complaint, hint = oneOf(v, "error", "allow", "deny", "local")
	return f, complaint, hint
}

func setLocalShare(c *checked, v string) (complaint, hint string) {
	share, err := strconv.ParseFloat(v, 64)
	if err != nil || !(share > 0 && share <= 1) {
		return fmt.Sprintf("%q is not a number above 0, and 1 at most", v), "as in 0.1"
	}
	c.LocalShare = share
	return "", ""
}

func setLogLevel(c *checked, v string) (complaint, hint string) {
	complaint, hint = oneOf(v, "debug", "info", "warn", "error")
	if complaint == "" {
		_ = c.Log.Level.UnmarshalText([]byte(v)) // it is one of the four
	}
	return complaint, hint
}

// The bounds of what may be waited for, and of what a bucket may take beyond
// its envelope.
const (
	minTimeout = time.Millisecond
	maxTimeout = time.Minute
	maxSlack   = time.Second
)

func setTimeout(c *checked, v string) (complaint, hint string) {
	if v == "auto" {
		c.DecisionTimeout = 0
		return "", ""
	}
	c.DecisionTimeout, complaint, hint = duration(v, minTimeout, maxTimeout)
	if complaint != "" && hint == "" {
		hint = "or auto"
	}
	return complaint, hint
}

func setSlack(c *checked, v string) (complaint, hint string) {
	c.Slack, complaint, hint = duration(v, 0, maxSlack)
	if complaint == "" && c.Slack%time.Millisecond != 0 {
		return fmt.Sprintf("%s is not a whole number of milliseconds", v), ""
	}
	if c.Slack == 0 {
		c.Slack = -1 // as ratelimit.Config says none
	}
	return complaint, hint
}

func duration(v string, least, most time.Duration) (d time.Duration, complaint, hint string) {
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0, fmt.Sprintf("%q is not a duration", v), "a number and a unit, as in 250ms or 1s"
	}
	if d < least || d > most {
		return 0, fmt.Sprintf("%s is not between %s and %s", v, least, most), ""
	}
	return d, "", ""
}
