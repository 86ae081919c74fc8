package config

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/tlsfiles"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Config is a whole configuration that was found to be right. It is never
// changed: a changed file makes another one.
type Config struct {
	Path string // of the file; empty when there is none
	Sum  string // the beginning of the SHA-256 of the file's bytes, in hex

	Listen Listen
	// TrustedProxies are the networks of the proxies whose word the HTTP port
	// takes for what they forward; masked, none of IPv4 in IPv6.
	TrustedProxies []netip.Prefix
	TLS            tlsfiles.Files // of the gRPC, HTTP and metrics ports; no Cert: they speak plain text
	Store          Store
	Log            Log

	Namespace string // of rules that name none, and of Limits
	// DecisionTimeout bounds a decision; 0 is auto: the caller's deadline less
	// 10 % (2 ms at least), at most 1 s; 250 ms when it has none.
	DecisionTimeout time.Duration
	// OnUnavailable is how to answer when the store doesn't; never FallbackUnset.
	OnUnavailable ratelimit.Fallback
	// LocalShare is the part of rate and capacity that each process admits by
	// itself where the fallback is local; above 0, 1 at most.
	LocalShare float64
	// DenyNoMatch is set by `no_match: deny`.
	DenyNoMatch bool
	// ResponseHeaders are the headers that tell clients of their limits, each one
	// of [ResponseHeaders].
	ResponseHeaders []string
	// DynamicMetadata says that answers tell Envoy what they rest on.
	DynamicMetadata bool
	// Slack is as ratelimit.Config takes it: below 0 is none.
	Slack      time.Duration
	Rejections Rejections

	// Ratelimit is the configuration of envoyproxy/ratelimit that the rules are
	// of; zero: they are the file's.
	Ratelimit Ratelimit
	// Shadow has the rate limit service admit whatever is decided.
	Shadow bool
	// HeaderNames are what response headers are called where not by their names
	// of [ResponseHeaders].
	HeaderNames map[string]string

	Rules  decision.Rules
	Limits hierarchy.Document
}

// Listen are the addresses to serve on: host:port, [::1]:port or unix:/path;
// empty is off.
type Listen struct {
	GRPC    string // never empty
	HTTP    string // checks over HTTP
	Metrics string
	Admin   string
}

// Store says where buckets live.
type Store struct {
	Type string // StoreEmbedded or StoreDynamoDB

	Path string // of the embedded store's file; empty: nothing outlives the process

	// The others are for DynamoDB.

	Stack       string // names the table
	Region      string // empty: that of the AWS configuration
	EndpointURL string // empty: that of the region
	Create      bool   // make the table where it is missing
	// MaxWritesPerSecond bounds the writes of the process.
	MaxWritesPerSecond int
}

// Rejections bound the rejection cache, which a store that is not in the
// process has.
type Rejections struct {
	Entries int
	Bytes   int64
}

// Log says what is logged, and how.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// ID names the configuration, for logs and metrics: it is another one when what
// its files hold is.
func (c *Config) ID() string {
	switch {
	case c.Ratelimit.Sum == "":
		return c.Sum
	case c.Path == "":
		return c.Ratelimit.Sum
	}
	return c.Sum + "+" + c.Ratelimit.Sum
}

// RestartNeeded names what differs between two configurations that a running
// process can't change: it goes on as the old one says. The names are keys of
// the file.
func RestartNeeded(old, new *Config) []string {
	var keys []string
	if old.Listen != new.Listen || !slices.Equal(old.TrustedProxies, new.TrustedProxies) {
		keys = append(keys, "listen")
	}
	if old.TLS != new.TLS {
		keys = append(keys, "tls")
	}
	if old.Store != new.Store {
		keys = append(keys, "store")
	}
	if old.Slack != new.Slack {
		keys = append(keys, "charge.slack")
	}
	if old.Rejections != new.Rejections {
		keys = append(keys, "charge.rejections")
	}
	return keys
}
