package dynamostore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// A namespace's catalogue names each item of its configuration that was ever
// written, tombstones too, by kind, name and resource. An item is entered in
// the transaction that writes it first, and never changed:
//
//	PK 3q7xk2m9vd/k   SK entity/user-123/                name user-123
//	PK 3q7xk2m9vd/k   SK entity+resource/user-123/gpt-4  name user-123, resource gpt-4
func catalogueKey(id string) string { return id + "/k" }

func catalogueItem(id string, r hierarchy.Ref) item {
	name, resource := "", ""
	if r.Name != "" {
		name = ratelimit.EntityID(r.Name)
	}
	if r.Resource != "" {
		resource = ratelimit.ResourceID(r.Resource)
	}
	it := primaryKey(catalogueKey(id), r.Kind.String()+"/"+name+"/"+resource)
	if r.Name != "" {
		it[attrName] = rawValue(r.Name)
	}
	if r.Resource != "" {
		it[attrResource] = rawValue(r.Resource)
	}
	return it
}

// decodeCatalogue reads an entry of the catalogue. A kind that this program
// doesn't know is passed over.
func decodeCatalogue(it item) (r hierarchy.Ref, sk string, known bool, err error) {
	if sk, err = textOf(it, attrSK); err != nil {
		return r, "", false, err
	}
	kind, _, _ := strings.Cut(sk, "/")
	if r.Kind, known = hierarchy.ParseKind(kind); !known {
		return r, sk, false, nil
	}
	for attribute, into := range map[string]*string{attrName: &r.Name, attrResource: &r.Resource} {
		if v := it[attribute]; v != nil {
			if err := rawText(v, into); err != nil {
				return r, "", false, fmt.Errorf("the catalogue's item %s: attribute %s %w", sk, attribute, err)
			}
		}
	}
	return r, sk, true, nil
}

// The parts of keys are printable ASCII: all that begin with a text lie between
// it and it with this behind.
const behind = "\x7f"

// hashed begins the part of a long name, whose beginning can't be told.
const hashed = "~"

// prefixes begin the keys of all that a selector selects, in their order, and of
// some more.
func prefixes(s *hierarchy.Selector) []string {
	if len(s.Kinds) == 0 && s.Name == "" && s.Prefix == "" {
		return []string{""}
	}
	var all []string
	for k := hierarchy.KindSystem; k <= hierarchy.KindEntityResource; k++ {
		if len(s.Kinds) == 0 || slices.Contains(s.Kinds, k) {
			all = append(all, prefixesOf(k, s)...)
		}
	}
	slices.Sort(all)
	return all
}

func prefixesOf(k hierarchy.Kind, s *hierarchy.Selector) []string {
	base, encode := k.String()+"/", ratelimit.EntityID
	named := k.OfTier() || k.OfEntity()
	if !named {
		base, encode = base+"/", ratelimit.ResourceID
	}
	switch {
	case s.Name != "" && !named, s.Resource != "" && !k.OfResource(), s.Prefix != "" && k == hierarchy.KindSystem:
		return nil
	case s.Name != "":
		return []string{base + encode(s.Name) + "/"}
	case s.Prefix == "":
		return []string{base}
	}
	if begin := encode(s.Prefix); !strings.HasPrefix(begin, hashed) {
		return []string{base + begin, base + hashed}
	}
	return []string{base + hashed}
}

// mostQueries bounds one call of List and of Events that selects little of much.
const mostQueries = 50

// List implements hierarchy.Editor: by kind, then by name. It reads the
// catalogue, and the items that it names.
func (s *Store) List(ctx context.Context, namespace string, sel hierarchy.Selector, p hierarchy.Page) (hierarchy.Listing, error) {
	id, err := s.adminID(ctx, namespace)
	if err != nil {
		return hierarchy.Listing{}, err
	}
	l := lister{store: s, id: id, selector: &sel, limit: p.Size()}
	if l.last, err = p.Key(); err == nil {
		err = l.list(ctx)
	}
	if err != nil {
		return hierarchy.Listing{}, fmt.Errorf("listing the configuration of namespace %q: %w", namespace, err)
	}
	return l.Listing, nil
}

// adminID is the id of a namespace for an admin, who may have registered it
// this moment.
func (s *Store) adminID(ctx context.Context, namespace string) (string, error) {
	s.registry.drop(namespace, "")
	return s.registry.id(ctx, namespace)
}

// lister makes a part of a list.
type lister struct {
	store    *Store
	id       string
	selector *hierarchy.Selector
	limit    int

	hierarchy.Listing
	last    string // the key in the catalogue that was looked at last
	queries int
}

func (l *lister) list(ctx context.Context) error {
	for _, prefix := range prefixes(l.selector) {
		for more := l.last < prefix+behind; more; {
			if len(l.Items) == l.limit || l.queries == mostQueries {
				l.Next = hierarchy.PageAt(l.last)
				return nil
			}
			var err error
			if more, err = l.part(ctx, prefix); err != nil {
				return err
			}
		}
	}
	return nil
}

// part reads on in the catalogue behind the last key, and reports whether there
// is more under the prefix.
func (l *lister) part(ctx context.Context, prefix string) (more bool, err error) {
	l.queries++
	found, more, err := l.store.query(ctx, &dynamodb.QueryInput{
		KeyConditionExpression: new("PK = :p AND SK BETWEEN :a AND :b"),
		ExpressionAttributeValues: item{
			":p": textValue(catalogueKey(l.id)), ":a": textValue(max(prefix, l.last+"\x00")), ":b": textValue(prefix + behind),
		},
		Limit: new(int32(hierarchy.MaxItems)),
	})
	if err != nil {
		return false, err
	}
	var refs []hierarchy.Ref
	var keys []string // of refs, in the catalogue
	last := l.last
	for _, it := range found {
		r, sk, known, err := decodeCatalogue(it)
		if err != nil {
			return false, err
		}
		last = sk
		if known && l.selector.Selects(r) {
			refs, keys = append(refs, r), append(keys, sk)
		}
	}
	items, err := l.store.readItems(ctx, l.id, refs)
	if err != nil {
		return false, err
	}
	for i := range items {
		if len(l.Items) == l.limit {
			return true, nil
		}
		l.last = keys[i]
		if items[i].Exists() || items[i].Revision > 0 && l.selector.Deleted {
			l.Items = append(l.Items, items[i])
		}
	}
	l.last = last
	return more, nil
}
