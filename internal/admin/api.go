package admin

import "time"

// The paths of the admin API.
const (
	pathExplain  = "/explain"
	pathConfig   = "/config"
	pathLogLevel = "/loglevel"
	pathDenials  = "/denials"
	pathTop      = "/top"
)

// Question is a request to be explained: descriptors, with Domain, or else an
// HTTP request.
type Question struct {
	Domain      string       `json:"domain,omitempty"`
	Descriptors []Descriptor `json:"descriptors,omitempty"`

	Method            string            `json:"method,omitempty"`
	Scheme            string            `json:"scheme,omitempty"`
	Host              string            `json:"host,omitempty"`
	Path              string            `json:"path,omitempty"` // with the query
	Headers           map[string]string `json:"headers,omitempty"`
	SourceAddress     string            `json:"source_address,omitempty"`
	SourcePrincipal   string            `json:"source_principal,omitempty"`
	SourceSANs        []string          `json:"source_sans,omitempty"` // of the peer's certificate
	ContextExtensions map[string]string `json:"context_extensions,omitempty"`
	Metadata          map[string]any    `json:"metadata,omitempty"` // by filter
	RouteMetadata     map[string]any    `json:"route_metadata,omitempty"`
}

// Descriptor is one of a rate limit request.
type Descriptor struct {
	Entries []Entry `json:"entries"`
	// Hits is the descriptor's hits_addend; nil is 1.
	Hits *uint64 `json:"hits,omitempty"`
}

// Entry is one key and value of a descriptor.
type Entry struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Explanation is how a request would be decided now.
type Explanation struct {
	Verdict           string  `json:"verdict"` // allow, deny, invalid or unavailable
	Reason            string  `json:"reason"`
	RetryAfterSeconds float64 `json:"retry_after_seconds,omitempty"`
	Error             string  `json:"error,omitempty"`
	// Config is the hash of the file that decided.
	Config string `json:"config"`
	// Live is true when balances are those of a running server; else every
	// bucket is taken to be full.
	Live     bool                 `json:"live"`
	Requests []RequestExplanation `json:"requests"`
}

// RequestExplanation is what became of one descriptor, or of the HTTP request.
type RequestExplanation struct {
	Protocol string              `json:"protocol"`
	Action   string              `json:"action"`         // no_match, allow, deny, charge or invalid
	Rule     string              `json:"rule,omitempty"` // the one that took it
	Error    string              `json:"error,omitempty"`
	Rules    []RuleExplanation   `json:"rules"`
	Charges  []ChargeExplanation `json:"charges"`
	Shadows  []ChargeExplanation `json:"shadows,omitempty"`
}

// RuleExplanation is what became of one rule, and why.
type RuleExplanation struct {
	Rule    string `json:"rule"`
	Verdict string `json:"verdict"`
	Detail  string `json:"detail,omitempty"`
}

// ChargeExplanation is one charge that a rule makes.
type ChargeExplanation struct {
	Rule      string              `json:"rule"`
	Namespace string              `json:"namespace"`
	Entity    string              `json:"entity"`
	Resource  string              `json:"resource"`
	Tier      string              `json:"tier,omitempty"`
	Settle    bool                `json:"settle,omitempty"`
	Buckets   []BucketExplanation `json:"buckets"` // the entity's own, then its parents'
}

// BucketExplanation is one bucket that a charge concerns.
type BucketExplanation struct {
	Entity  string             `json:"entity"`
	Level   string             `json:"level"` // where its limits come from
	Mode    string             `json:"mode"`
	Limits  []LimitExplanation `json:"limits"`
	Unknown []string           `json:"unknown,omitempty"` // limits that the charge names and the bucket lacks
}

// LimitExplanation is one limit that a charge takes from.
type LimitExplanation struct {
	Name              string  `json:"name"`
	Rate              int64   `json:"rate"`
	PeriodSeconds     float64 `json:"period_seconds"`
	Burst             int64   `json:"burst"`
	Cost              int64   `json:"cost"`
	Balance           int64   `json:"balance"` // before the charge
	Violated          bool    `json:"violated"`
	Never             bool    `json:"never,omitempty"`
	RetryAfterSeconds float64 `json:"retry_after_seconds"`
	// Text is the limit in the short form.
	Text string `json:"text"`
}

// ConfigInfo is the configuration in force.
type ConfigInfo struct {
	Config string `json:"config"` // the hash of the file
	Path   string `json:"path,omitempty"`
	// Loaded is when it came into force.
	Loaded time.Time `json:"loaded_at"`
	// Refused is what is wrong with the file as it is now, empty if nothing.
	Refused string `json:"refused,omitempty"`
	// Restart are the keys that differ in the file and need a restart.
	Restart []string `json:"restart_needed,omitempty"`
}

// LogLevel is how much is logged.
type LogLevel struct {
	Level string `json:"level"`
}
