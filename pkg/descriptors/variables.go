package descriptors

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// reader reads a text of a request; empty means that it is missing.
type reader func(ev *evaluation) string

// variable is a name that rules may use.
type variable struct {
	name     string
	typ      *cel.Type
	protocol Protocol // to which a rule that uses it belongs; both: to either
	answers  bool     // known in on_allow and on_deny alone
}

var (
	textMap  = cel.MapType(cel.StringType, cel.StringType)
	valueMap = cel.MapType(cel.StringType, cel.DynType)

	requestType = cel.ObjectType("Request")
	peerType    = cel.ObjectType("Peer")
	sourceType  = cel.ObjectType("Source") // a peer whose certificate is known
	entryType   = cel.ObjectType("Entry")
	entityType  = cel.ObjectType("Entity")
)

var variables = []variable{
	{name: "domain", typ: cel.StringType, protocol: ProtocolRateLimit},
	{name: "descriptor", typ: textMap, protocol: ProtocolRateLimit},
	{name: "entries", typ: cel.ListType(entryType), protocol: ProtocolRateLimit},
	{name: "hits", typ: cel.IntType, protocol: bothProtocols},
	{name: "request", typ: requestType, protocol: ProtocolExtAuthz},
	{name: "source", typ: sourceType, protocol: ProtocolExtAuthz},
	{name: "destination", typ: peerType, protocol: ProtocolExtAuthz},
	{name: "client_ip", typ: cel.StringType, protocol: ProtocolExtAuthz},
	{name: "context_extensions", typ: textMap, protocol: ProtocolExtAuthz},
	{name: "metadata", typ: valueMap, protocol: ProtocolExtAuthz},
	{name: "route_metadata", typ: valueMap, protocol: ProtocolExtAuthz},
	{name: "entity", typ: entityType, protocol: bothProtocols, answers: true},
}

// textVariables read the variables that are texts themselves.
var textVariables = map[string]reader{
	"domain":    func(ev *evaluation) string { return ev.req.Domain },
	"client_ip": clientIPOf,
}

// mapVariables are the variables that are maps of texts.
var mapVariables = map[string]*mapKind{
	"descriptor":         descriptorMap,
	"context_extensions": extensionsMap,
}

// field is a field of a variable: a text, a map of texts, or a list of them.
type field struct {
	name  string
	text  func(target any) string
	kind  *mapKind
	value func(target any) ref.Val // of a map
	list  func(target any) traits.Lister
}

// structures are the types that have fields, by name. The target of a field's
// text is what evaluation.structure gives, or an *Entry.
var structures = map[string][]field{
	requestType.TypeName(): {
		requestText("method", func(r *Request) string { return r.Method }),
		requestText("scheme", func(r *Request) string { return r.Scheme }),
		requestText("host", func(r *Request) string { return r.Host }),
		requestText("path", func(r *Request) string { return r.Path }),
		requestText("url_path", func(r *Request) string { return urlPath(r.Path) }),
		requestText("id", func(r *Request) string { return r.ID }),
		requestText("body", func(r *Request) string { return r.Body }),
		{name: "query_params", kind: queryMap, value: func(t any) ref.Val { return &t.(*evaluation).query }},
		{name: "headers", kind: headersMap, value: func(t any) ref.Val { return &t.(*evaluation).headers }},
	},
	sourceType.TypeName(): {
		requestText("address", func(r *Request) string { return r.Source.Address }),
		requestText("principal", func(r *Request) string { return r.Source.Principal }),
		{name: "sans", list: func(t any) traits.Lister { return t.(*evaluation).sourceSANs() }},
	},
	peerType.TypeName(): {
		{name: "address", text: func(t any) string { return t.(*Peer).Address }},
		{name: "principal", text: func(t any) string { return t.(*Peer).Principal }},
	},
	entryType.TypeName(): {
		{name: "key", text: func(t any) string { return t.(*Entry).Key }},
		{name: "value", text: func(t any) string { return t.(*Entry).Value }},
	},
	entityType.TypeName(): {
		entityText("id", func(e *EntityInfo) string { return e.ID }),
		entityText("tier", func(e *EntityInfo) string { return e.Tier }),
		{name: "metadata", kind: entityMetadataMap, value: func(t any) ref.Val { return &t.(*evaluation).entityMetadata }},
	},
}

func requestText(name string, of func(r *Request) string) field {
	return field{name: name, text: func(t any) string { return of(t.(*evaluation).req) }}
}

func entityText(name string, of func(e *EntityInfo) string) field {
	return field{name: name, text: func(t any) string { return of(t.(*evaluation).entity) }}
}

// fieldOf finds a field of a type.
func fieldOf(typeName, name string) (field, bool) {
	for _, f := range structures[typeName] {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

func fieldNames(typeName string) []string {
	names := make([]string, 0, len(structures[typeName]))
	for _, f := range structures[typeName] {
		names = append(names, f.name)
	}
	return names
}
