package admin

import (
	"net/url"
	"strconv"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// Store is the configuration in a store: what the admin API serves, and what
// the commands work on, there or here.
type Store interface {
	hierarchy.Editor
	hierarchy.Namespaces
}

// cause is who changes something, and when.
type cause struct {
	By hierarchy.Actor `json:"by"`
	At time.Time       `json:"at"`
}

func causeOf(c hierarchy.Cause) cause { return cause{c.By, c.At} }

func (c cause) cause() hierarchy.Cause { return hierarchy.Cause{By: c.By, At: c.At} }

// registration asks for a namespace.
type registration struct {
	Name string `json:"name"`
	cause
}

// NamespaceInfo is a namespace in JSON.
type NamespaceInfo struct {
	Name      string    `json:"name"`
	ID        string    `json:"id"`
	State     string    `json:"state"` // active, deleted or purging
	CreatedAt time.Time `json:"created_at"`
	DeletedAt time.Time `json:"deleted_at,omitzero"`
	Revision  int64     `json:"revision"`
}

// InfoOf is a namespace as it is shown.
func InfoOf(n hierarchy.Namespace) NamespaceInfo {
	return NamespaceInfo{n.Name, n.ID, n.State.String(), n.CreatedAt.UTC(), n.DeletedAt, n.Revision}
}

func infosOf(l hierarchy.NamespaceListing) List[NamespaceInfo] {
	infos := make([]NamespaceInfo, len(l.Namespaces))
	for i, n := range l.Namespaces {
		infos[i] = InfoOf(n)
	}
	return NewList(infos, l.Next)
}

func (n NamespaceInfo) namespace() hierarchy.Namespace {
	made := hierarchy.Namespace{Name: n.Name, ID: n.ID, CreatedAt: n.CreatedAt, DeletedAt: n.DeletedAt, Revision: n.Revision}
	made.State, _ = hierarchy.ParseNamespaceState(n.State)
	return made
}

// List is a part of a list: Next, where it is not empty, is what the next part
// comes after.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// NewList makes a list whose items are never null in JSON.
func NewList[T any](items []T, next string) List[T] {
	if items == nil {
		items = []T{}
	}
	return List[T]{items, next}
}

type markJSON struct {
	ID       string `json:"id"`
	Revision int64  `json:"revision"`
}

type refsJSON struct {
	Refs []hierarchy.Ref `json:"refs"`
}

type editJSON struct {
	cause
	Action string            `json:"action"`
	Puts   []putJSON         `json:"puts"`
	Reads  []expectationJSON `json:"reads,omitempty"`
}

type putJSON struct {
	Item   hierarchy.Item `json:"item"`
	Expect int64          `json:"expect"`
}

type expectationJSON struct {
	Ref      hierarchy.Ref `json:"ref"`
	Revision int64         `json:"revision"`
}

type revisionJSON struct {
	Revision int64 `json:"revision"`
}

func editOf(e *hierarchy.Edit) editJSON {
	j := editJSON{cause: causeOf(e.Cause), Action: e.Action, Puts: []putJSON{}}
	for i := range e.Puts {
		j.Puts = append(j.Puts, putJSON{e.Puts[i].Item, e.Puts[i].Expect})
	}
	for _, r := range e.Reads {
		j.Reads = append(j.Reads, expectationJSON(r))
	}
	return j
}

func (j *editJSON) edit() hierarchy.Edit {
	e := hierarchy.Edit{Cause: j.cause.cause(), Action: j.Action}
	for i := range j.Puts {
		e.Puts = append(e.Puts, hierarchy.Put{Item: j.Puts[i].Item, Expect: j.Puts[i].Expect})
	}
	for _, r := range j.Reads {
		e.Reads = append(e.Reads, hierarchy.Expectation(r))
	}
	return e
}

// purgeLine is a line of the answer to a purge: what was removed so far, until
// the last, which says that it is done or what has ended it.
type purgeLine struct {
	Removed int       `json:"removed"`
	Done    bool      `json:"done,omitempty"`
	Failed  *apiError `json:"failed,omitempty"`
}

// The parameters of lists. In a query names may have any bytes.
const (
	paramKind     = "kind"
	paramName     = "name"
	paramResource = "resource"
	paramPrefix   = "prefix"
	paramDeleted  = "deleted"
	paramLimit    = "limit"
	paramAfter    = "after"
	paramID       = "id"
	paramRevision = "revision"
)

// query is what a selector and a page are in a URL.
func query(s hierarchy.Selector, p hierarchy.Page) url.Values {
	q := url.Values{}
	for _, k := range s.Kinds {
		q.Add(paramKind, k.String())
	}
	for name, value := range map[string]string{
		paramName: s.Name, paramResource: s.Resource, paramPrefix: s.Prefix, paramAfter: p.After,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if s.Deleted {
		q.Set(paramDeleted, "true")
	}
	if p.Limit != 0 {
		q.Set(paramLimit, strconv.Itoa(p.Limit))
	}
	return q
}

// selected reads what query writes.
func selected(q url.Values) (hierarchy.Selector, hierarchy.Page, error) {
	s := hierarchy.Selector{Name: q.Get(paramName), Resource: q.Get(paramResource), Prefix: q.Get(paramPrefix), Deleted: q.Get(paramDeleted) == "true"}
	for _, name := range q[paramKind] {
		k, ok := hierarchy.ParseKind(name)
		if !ok {
			return s, hierarchy.Page{}, invalidQuery("there is no kind %q", name)
		}
		s.Kinds = append(s.Kinds, k)
	}
	p := hierarchy.Page{After: q.Get(paramAfter)}
	if text := q.Get(paramLimit); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return s, p, invalidQuery("the limit %q is not a number from 1", text)
		}
		p.Limit = n
	}
	return s, p, nil
}
