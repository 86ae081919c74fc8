package zaelimiter

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// The sort keys of what is read, or how they begin.
const (
	skMeta        = "#META"
	skConfig      = "#CONFIG"
	skNamespace   = "#NAMESPACE#"
	skID          = "#NSID#"
	skProvisioner = "#PROVISIONER"
	skVersion     = "#VERSION"
)

// schema is how the versions of the layout begin that are read here.
const schema = "0.10."

// Contents are what a table of zae-limiter says, in the words of this module.
type Contents struct {
	Table      string
	Namespaces []Namespace // by name
	Losses     []Loss      // of the table as a whole
}

// Namespace is one namespace that is in use there.
type Namespace struct {
	Name     string
	Document hierarchy.Document
	Losses   []Loss
}

// Loss is something that can't be said here, or is another thing here.
type Loss struct {
	Namespace string        `json:"namespace"`
	Target    hierarchy.Ref `json:"target"` // where it is said
	Feature   string        `json:"feature"`
	Limit     string        `json:"limit,omitempty"` // the limit's name
	Detail    string        `json:"detail"`
}

// The features that can't be had here, or not as they are there.
const (
	featureAuditRetention = "audit retention"
	featureCascade        = "cascade"
	featureDisplayName    = "display name"
	featureLimit          = "limit"
	featureManifest       = "manifest"
	featureMetadata       = "metadata"
	featureName           = "name"
	featureNamespace      = "namespace"
	featureParent         = "parent"
	featureQuota          = "quota"
	featureSchema         = "schema"
	featureSchedule       = "schedule"
	featureSoft           = "soft limit"
	featureUnavailable    = "on_unavailable"
)

// Read reads all that a table says of namespaces, entities and limits. The
// error is a [*TableError] where that can't be, or where it is not a table of
// zae-limiter.
func Read(ctx context.Context, t Table, table string) (*Contents, error) {
	r := reading{names: map[string]string{}, worlds: map[string]*world{}, gone: map[string]string{}}
	if err := scan(ctx, t, table, r.take); err != nil {
		return nil, err
	}
	if len(r.names) == 0 && len(r.gone) == 0 {
		return nil, &TableError{Table: table, Message: "has no namespaces of zae-limiter", Hint: "--from names zae-limiter's stack, which is its table"}
	}
	c := &Contents{Table: table}
	for name, id := range r.names {
		n := Namespace{Name: name}
		if w := r.worlds[id]; w != nil {
			n.Document, n.Losses = w.finish(name)
		}
		c.Namespaces = append(c.Namespaces, n)
	}
	slices.SortFunc(c.Namespaces, func(a, b Namespace) int { return cmp.Compare(a.Name, b.Name) })
	if r.schema != "" && !strings.HasPrefix(r.schema, schema) {
		c.Losses = append(c.Losses, Loss{Feature: featureSchema, Detail: "the table is laid out by version " + r.schema + ", and read as by 0.10.0: what is new in it isn't seen"})
	}
	for _, id := range slices.Sorted(maps.Keys(r.gone)) {
		c.Losses = append(c.Losses, Loss{
			Namespace: r.gone[id], Feature: featureNamespace,
			Detail: "it is deleted there, with the id " + id + ": recover it there to have it imported",
		})
	}
	return c, nil
}

// reading is what was read so far.
type reading struct {
	names  map[string]string // :: namespace -> id
	gone   map[string]string // :: id -> the name that a deleted namespace had
	worlds map[string]*world // :: id -> what it holds
	schema string            // the version of the layout
}

// take takes one item.
func (r *reading) take(a attributes) {
	id, place, ok := strings.Cut(a.text("PK"), "/")
	sk := a.text("SK")
	if !ok {
		return
	}
	if id == "_" {
		if name, ok := strings.CutPrefix(sk, skNamespace); ok {
			r.names[name] = a.text("namespace_id")
		} else if id, ok := strings.CutPrefix(sk, skID); ok && a.text("status") != "active" {
			r.gone[id] = a.text("namespace_name")
		} else if sk == skVersion {
			r.schema = a.text("schema_version")
		}
		return
	}
	w := r.worlds[id]
	if w == nil {
		w = newWorld()
		r.worlds[id] = w
	}
	w.take(place, sk, a)
}
