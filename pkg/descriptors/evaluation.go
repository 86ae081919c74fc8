package descriptors

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// evaluation is one request under the eyes of the rules: what native reads work
// on, and what CEL resolves variables by. It is used by one goroutine at a time
// and used again for other requests.
type evaluation struct {
	req    *Request
	entity *EntityInfo // in answers alone
	source clientIP
	sans   *sans

	ip      string // client_ip, once it was asked for
	ipKnown bool
	params  map[string]string // query_params, once they were gone over
	names   nameList          // source.sans, once they were asked for
	tooMany bool              // an expression would go over more than it may

	// The maps that variables and their fields are; they point back here.
	descriptor, headers, query, extensions, entityMetadata mapVal
}

func newEvaluation(source clientIP, sans *sans) *evaluation {
	ev := &evaluation{source: source, sans: sans}
	ev.descriptor = mapVal{texts{ev, descriptorMap}, ev}
	ev.headers = mapVal{texts{ev, headersMap}, ev}
	ev.query = mapVal{texts{ev, queryMap}, ev}
	ev.extensions = mapVal{texts{ev, extensionsMap}, ev}
	ev.entityMetadata = mapVal{texts{ev, entityMetadataMap}, ev}
	return ev
}

func (ev *evaluation) begin(req *Request, entity *EntityInfo) {
	ev.req, ev.entity = req, entity
	ev.ip, ev.ipKnown, ev.params, ev.names, ev.tooMany = "", false, nil, nameList{}, false
}

// Parent makes an evaluation a CEL activation.
func (ev *evaluation) Parent() cel.Activation { return nil }

// ResolveName makes an evaluation a CEL activation.
func (ev *evaluation) ResolveName(name string) (any, bool) {
	if read, ok := textVariables[name]; ok {
		if s := read(ev); s != "" {
			return types.String(capped(s)), true
		}
		// A new error each time: CEL writes into it.
		return types.NewErr("%s%s", noSuchAttribute, name), true
	}
	switch name {
	case "descriptor":
		return &ev.descriptor, true
	case "entries":
		return listOf(ev, len(ev.req.Entries), func(i int) ref.Val { return entryVal{&ev.req.Entries[i]} }), true
	case "hits":
		return types.Int(hitsOf(ev)), true
	case "context_extensions":
		return &ev.extensions, true
	case "metadata":
		return objectOf(ev, ev.req.Metadata), true
	case "route_metadata":
		return objectOf(ev, ev.req.RouteMetadata), true
	}
	if target := ev.structure(name); target != nil {
		return target, true
	}
	return nil, false
}

// structure is what the fields of a variable are read from.
func (ev *evaluation) structure(name string) any {
	switch name {
	case "request", "entity", "source":
		return ev
	case "destination":
		return &ev.req.Destination
	}
	return nil
}

// hitsOf is hits as CEL's int; one that is too large stays too large to charge.
func hitsOf(ev *evaluation) int64 {
	const most = 1<<63 - 1
	return int64(min(ev.req.Hits, most))
}

func clientIPOf(ev *evaluation) string {
	if !ev.ipKnown {
		ev.ip, ev.ipKnown = ev.source.of(ev.req), true
	}
	return ev.ip
}

// sourceSANs are the names in the client's certificate. As with every list, those
// that are too many to go over end the evaluation.
func (ev *evaluation) sourceSANs() traits.Lister {
	if ev.names.Lister == nil {
		ev.names = ev.sans.of(&ev.req.Source)
	}
	ev.tooMany = ev.tooMany || ev.names.tooMany
	return ev.names.Lister
}

func urlPath(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

// mapKind is a map from texts to texts that a request has. An empty text is no
// value: get gives it for a key that isn't there, and keys doesn't name it.
type mapKind struct {
	get  func(ev *evaluation, key string) string
	keys func(ev *evaluation) []string
	size func(ev *evaluation) int // nil: how many keys there are
}

func (k *mapKind) sizeOf(ev *evaluation) int {
	if k.size != nil {
		return k.size(ev)
	}
	return len(k.keys(ev))
}

var (
	descriptorMap = &mapKind{
		get:  func(ev *evaluation, key string) string { return entryOf(ev.req.Entries, key) },
		keys: func(ev *evaluation) []string { return entryKeys(ev.req.Entries) },
		size: func(ev *evaluation) int { return entryCount(ev.req.Entries) },
	}
	headersMap        = goMap(func(ev *evaluation) map[string]string { return ev.req.Headers })
	extensionsMap     = goMap(func(ev *evaluation) map[string]string { return ev.req.ContextExtensions })
	entityMetadataMap = goMap(func(ev *evaluation) map[string]string { return ev.entity.Metadata })
	queryMap          = &mapKind{
		get: func(ev *evaluation, key string) string {
			if ev.params != nil {
				return ev.params[key]
			}
			return queryParam(ev.req.Path, key)
		},
		keys: func(ev *evaluation) []string {
			if ev.params == nil {
				ev.params = queryParams(ev.req.Path)
			}
			return sortedKeys(ev.params)
		},
	}
)

func goMap(of func(ev *evaluation) map[string]string) *mapKind {
	return &mapKind{
		get:  func(ev *evaluation, key string) string { return of(ev)[key] },
		keys: func(ev *evaluation) []string { return sortedKeys(of(ev)) },
	}
}

// sortedKeys are the keys of a map that have a value.
func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key, value := range m {
		if value != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// entryOf is the value of the first entry with a key.
func entryOf(entries []Entry, key string) string {
	for i := range entries {
		if entries[i].Key == key {
			return entries[i].Value
		}
	}
	return ""
}

func entryKeys(entries []Entry) []string {
	keys := make([]string, 0, len(entries))
	seen := make(map[string]struct{}, len(entries))
	for _, e := range entries {
		if _, again := seen[e.Key]; again {
			continue
		}
		seen[e.Key] = struct{}{}
		if e.Value != "" {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

// entryCount is how many keys the entries have, which for the few that
// descriptors are made of takes no memory.
func entryCount(entries []Entry) int {
	const few = 16
	if len(entries) > few {
		return len(entryKeys(entries))
	}
	n := 0
	for i, e := range entries {
		again := slices.ContainsFunc(entries[:i], func(before Entry) bool { return before.Key == e.Key })
		if !again && e.Value != "" {
			n++
		}
	}
	return n
}
