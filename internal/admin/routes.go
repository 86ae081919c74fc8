package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// route is one path of the admin API and its method.
type route struct {
	method, pattern string
	serve           http.HandlerFunc
}

// routes are all of them; docs/openapi/admin.yaml has the same.
func (h *handler) routes() []route {
	return []route{
		{"POST", pathExplain, h.explain},
		{"GET", pathConfig, h.config},
		{"GET", pathLogLevel, h.logLevel},
		{"PUT", pathLogLevel, h.setLogLevel},
		{"GET", pathDenials, h.denials},
		{"GET", pathTop, h.top},

		{"GET", "/namespaces", h.asked(h.namespaces)},
		{"POST", "/namespaces", h.asked(h.register)},
		{"GET", "/namespaces/{namespace}", h.asked(h.namespace)},
		{"POST", "/namespaces/{namespace}/delete", h.asked(h.deleteNamespace)},
		{"GET", "/orphans", h.asked(h.orphans)},
		{"POST", "/orphans/{id}/recover", h.asked(h.recoverNamespace)},
		{"POST", "/orphans/{id}/purge", h.purge},

		{"GET", "/namespaces/{namespace}/mark", h.asked(h.mark)},
		{"GET", "/namespaces/{namespace}/changes", h.asked(h.changes)},
		{"GET", "/namespaces/{namespace}/items", h.asked(h.list)},
		{"POST", "/namespaces/{namespace}/items/read", h.asked(h.items)},
		{"POST", "/namespaces/{namespace}/edits", h.asked(h.edit)},
		{"GET", "/namespaces/{namespace}/events", h.asked(h.events)},
		{"POST", "/namespaces/{namespace}/balance", h.asked(h.balance)},
		{"POST", "/namespaces/{namespace}/operations", h.asked(h.operate)},
	}
}

// call is one request about the store.
type call struct {
	Store
	r *http.Request
	h *handler
	w http.ResponseWriter
}

func (c *call) ctx() context.Context { return c.r.Context() }

func (c *call) name() string { return c.r.PathValue("namespace") }

// asked answers what f returns, in JSON.
func (h *handler) asked(f func(c *call) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{r: r, h: h, w: w}
		var err error
		if c.Store, err = h.Store(); err != nil {
			h.refuse(w, err)
			return
		}
		answer, err := f(c)
		switch {
		case errors.Is(err, errAnswered):
		case err != nil:
			h.refuse(w, err)
		default:
			h.write(w, http.StatusOK, answer)
		}
	}
}

// body reads the request's.
func body[T any](c *call) (T, error) {
	var into T
	if !c.h.read(c.w, c.r, &into) {
		return into, errAnswered
	}
	return into, nil
}

// errAnswered ends a call that was answered: its body can't be read.
var errAnswered = errors.New("answered")

// refuse answers an error.
func (h *handler) refuse(w http.ResponseWriter, err error) {
	e := apiErrorOf(err)
	h.write(w, statusOf(e.Error.Code), e)
}

const codeInvalidQuery = "invalid_query"

func invalidQuery(format string, args ...any) error {
	return &Problem{Code: codeInvalidQuery, Message: fmt.Sprintf(format, args...)}
}

func (h *handler) namespaces(c *call) (any, error) { return namespaceList(c, c.Namespaces) }

func (h *handler) orphans(c *call) (any, error) { return namespaceList(c, c.Orphans) }

func namespaceList(c *call, list func(context.Context, hierarchy.Page) (hierarchy.NamespaceListing, error)) (any, error) {
	_, page, err := selected(c.r.URL.Query())
	if err != nil {
		return nil, err
	}
	l, err := list(c.ctx(), page)
	if err != nil {
		return nil, err
	}
	return infosOf(l), nil
}

func (h *handler) register(c *call) (any, error) {
	b, err := body[registration](c)
	if err != nil {
		return nil, err
	}
	n, err := c.RegisterNamespace(c.ctx(), b.Name, b.cause.cause())
	return InfoOf(n), err
}

func (h *handler) namespace(c *call) (any, error) {
	n, err := c.Namespace(c.ctx(), c.name())
	return InfoOf(n), err
}

func (h *handler) deleteNamespace(c *call) (any, error) {
	b, err := body[cause](c)
	if err != nil {
		return nil, err
	}
	n, err := c.DeleteNamespace(c.ctx(), c.name(), b.cause())
	return InfoOf(n), err
}

func (h *handler) recoverNamespace(c *call) (any, error) {
	b, err := body[cause](c)
	if err != nil {
		return nil, err
	}
	n, err := c.RecoverNamespace(c.ctx(), c.r.PathValue("id"), b.cause())
	return InfoOf(n), err
}

// purge answers with a line of JSON now and then: it may take minutes.
func (h *handler) purge(w http.ResponseWriter, r *http.Request) {
	var nothing struct{}
	if !h.read(w, r, &nothing) {
		return
	}
	store, err := h.Store()
	if err != nil {
		h.refuse(w, err)
		return
	}
	answer := http.NewResponseController(w)
	// A writer without deadlines needs none taken away.
	_ = answer.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "application/x-ndjson")
	line := purgeLine{}
	say := func() {
		// A caller that has gone ends the purge by its context.
		_ = json.NewEncoder(w).Encode(line)
		_ = answer.Flush()
	}
	err = store.PurgeNamespace(r.Context(), r.PathValue("id"), func(removed int) {
		line.Removed = removed
		say()
	})
	if err != nil {
		line.Failed = apiErrorOf(err)
	} else {
		line.Done = true
	}
	say()
}

func (h *handler) mark(c *call) (any, error) {
	m, err := c.Mark(c.ctx(), c.name())
	return markJSON(m), err
}

func (h *handler) changes(c *call) (any, error) {
	q := c.r.URL.Query()
	revision, err := strconv.ParseInt(q.Get(paramRevision), 10, 64)
	if err != nil {
		return nil, invalidQuery("the revision %q is not a number", q.Get(paramRevision))
	}
	changes, err := c.Changes(c.ctx(), c.name(), hierarchy.Mark{ID: q.Get(paramID), Revision: revision})
	return NewList(changes, ""), err
}

func (h *handler) list(c *call) (any, error) {
	s, page, err := selected(c.r.URL.Query())
	if err != nil {
		return nil, err
	}
	l, err := c.List(c.ctx(), c.name(), s, page)
	return NewList(l.Items, l.Next), err
}

func (h *handler) items(c *call) (any, error) {
	b, err := body[refsJSON](c)
	if err != nil {
		return nil, err
	}
	items, err := c.Items(c.ctx(), c.name(), b.Refs)
	return NewList(items, ""), err
}

func (h *handler) edit(c *call) (any, error) {
	b, err := body[editJSON](c)
	if err != nil {
		return nil, err
	}
	revision, err := c.Edit(c.ctx(), c.name(), b.edit())
	return revisionJSON{revision}, err
}

func (h *handler) events(c *call) (any, error) {
	s, page, err := selected(c.r.URL.Query())
	if err != nil {
		return nil, err
	}
	l, err := c.Events(c.ctx(), c.name(), s, page)
	return NewList(l.Events, l.Next), err
}
