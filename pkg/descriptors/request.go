package descriptors

import "github.com/extauthz/extauthz/pkg/ratelimit"

// Protocol is the one of Envoy's services through which a request came.
type Protocol uint8

// The protocols.
const (
	ProtocolRateLimit Protocol = 1 << iota // RateLimitService: descriptors
	ProtocolExtAuthz                       // Authorization: requests

	bothProtocols = ProtocolRateLimit | ProtocolExtAuthz
)

// String is the protocol's name, as it is configured.
func (p Protocol) String() string {
	switch p {
	case ProtocolRateLimit:
		return "ratelimit"
	case ProtocolExtAuthz:
		return "ext_authz"
	case bothProtocols:
		return "ratelimit or ext_authz"
	}
	return "unknown"
}

// Request is what the rules know of a request: one descriptor of the
// RateLimitService, or one check of the Authorization service. It shares the
// strings and maps of the message that it was made from, and isn't changed while
// rules read it. Texts may hold any bytes.
type Request struct {
	Protocol Protocol

	// Hits is what the request asks for: 1 for ext_authz, any number for a
	// descriptor; 0 looks.
	Hits uint64

	// Of a descriptor.
	Domain  string
	Entries []Entry // in the order of the descriptor
	// Override is the limit that came with the descriptor, nil for none.
	Override *Override
	// Refund is true for hits that are to be given back. That is admitted and
	// counted, and credits nothing unless a rule says so: Envoy sends it also
	// for what was denied.
	Refund bool

	// Of a check. Path has the query; names of headers are in lower case.
	ID, Method, Scheme, Host, Path string
	// Began is when the request began, in nanoseconds since 1970; 0 where that
	// isn't told. With the ID it is the same in every attempt at one check.
	Began                   int64
	Headers                 map[string]string
	Body                    string // empty unless Envoy was told to send it
	Source, Destination     Peer
	ContextExtensions       map[string]string
	Metadata, RouteMetadata Values // by the name of the filter; nil for none
}

// Entry is one key and value of a descriptor.
type Entry struct{ Key, Value string }

// Peer is one end of a connection: its address without the port, and who its
// certificate says it is.
type Peer struct {
	Address, Principal string
	// Certificate is the client's as Envoy sends it, PEM as in a URL; empty unless
	// Envoy was told to. It is read when a rule asks for the names in it.
	Certificate string
	// SANs are the subject alternative names where they are known without it; nil:
	// they are the certificate's.
	SANs []string
}

// Override is a limit that a descriptor brings with it.
type Override struct {
	Limit   ratelimit.Limit
	Variant string // of the bucket's key: UNITxN
	Err     error  // why it can't be used; the request is then invalid
}

// Values is structured metadata, read where it lies. A value is nil, a bool, a
// float64, a string, Values or a List.
type Values interface {
	// Get is the value of a name, and whether there is one.
	Get(name string) (value any, ok bool)
	// Names are those that have a value, in any order.
	Names() []string
}

// List is the list among the values of metadata.
type List interface {
	Len() int
	At(i int) any // 0 <= i < Len
}

// Object is Values from a Go map.
type Object map[string]any

// Get is the value of a name, and whether there is one.
func (o Object) Get(name string) (any, bool) {
	v, ok := o[name]
	return v, ok
}

// Names are those that have a value, in any order.
func (o Object) Names() []string {
	names := make([]string, 0, len(o))
	for name := range o {
		names = append(names, name)
	}
	return names
}
