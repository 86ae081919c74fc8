package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/extauthz/extauthz/internal/recent"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// Denials are the last calls that a service has denied, newest first. A sample:
// of one rule and bucket one a second is kept, and 64 a second of all together.
type Denials struct {
	List[Denial]
	// Seen is how many there were since the service started, kept or not.
	Seen uint64 `json:"seen"`
}

// Denial is one call that was denied. What doesn't concern it is left out.
type Denial struct {
	At       time.Time `json:"at"`
	Shadow   bool      `json:"shadow,omitempty"` // nobody was denied: the rule isn't enforced
	Protocol string    `json:"protocol,omitempty"`
	Rule     string    `json:"rule,omitempty"`
	Reason   string    `json:"reason"`
	Source   string    `json:"source,omitempty"`
	Error    string    `json:"error,omitempty"`

	Namespace string         `json:"namespace,omitempty"`
	Entity    hierarchy.Text `json:"entity,omitempty"`
	Parent    hierarchy.Text `json:"parent,omitempty"` // whose limit it was, if not the entity's
	Resource  hierarchy.Text `json:"resource,omitempty"`
	Limit     *DeniedLimit   `json:"limit,omitempty"`

	RetryAfterSeconds float64 `json:"retry_after_seconds,omitempty"`
}

// DeniedLimit is the limit that was short.
type DeniedLimit struct {
	Name          string  `json:"name"`
	Rate          int64   `json:"rate"`
	PeriodSeconds float64 `json:"period_seconds"`
	Burst         int64   `json:"burst"`
	Cost          int64   `json:"cost"` // tokens asked of it
	// Text is the limit in the short form.
	Text string `json:"text"`
}

// Top are the entities with the most denials, or with the most consumption of
// each limit.
type Top struct {
	By string `json:"by"` // denials or consumption
	// Since is when the counting began: ten to twenty minutes ago, or with the
	// service.
	Since time.Time `json:"since"`
	List[Rank]
}

// Rank is what an entity has: at least and at most so much, the same where few
// entities have any.
type Rank struct {
	Limit     string         `json:"limit,omitempty"` // whose tokens were consumed
	Namespace string         `json:"namespace"`
	Entity    hierarchy.Text `json:"entity"`
	AtLeast   int64          `json:"at_least"`
	AtMost    int64          `json:"at_most"`
}

// DenialsQuestion says which denials are wanted; what is empty selects all.
type DenialsQuestion struct {
	Namespace, Entity, Resource, Rule string
	Page                              hierarchy.Page
}

// TopQuestion says which ranking is wanted.
type TopQuestion struct {
	By        recent.By
	Namespace string // empty: of all
	Limit     int    // how many at most, of each limit; 0: ten
}

const (
	paramBy        = "by"
	paramNamespace = "namespace"
	paramEntity    = "entity"
	paramRule      = "rule"

	defaultTop = 10
)

func (h *handler) denials(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	_, page, err := selected(q)
	if err != nil {
		h.refuse(w, err)
		return
	}
	s := recent.Selection{
		Namespace: q.Get(paramNamespace), Entity: q.Get(paramEntity), Resource: q.Get(paramResource), Rule: q.Get(paramRule),
		Limit: page.Size(),
	}
	if page.After != "" {
		if s.Before, err = strconv.ParseUint(page.After, 10, 64); err != nil || s.Before == 0 {
			h.refuse(w, &Problem{
				Code: codeInvalidQuery, Message: fmt.Sprintf("no part of the list ends with %q", page.After),
				Hint: "go on after what the part before has named",
			})
			return
		}
	}
	found, seen := h.Recent.Denials(s)
	d := Denials{List: NewList(make([]Denial, 0, len(found)), ""), Seen: seen}
	for i := range found {
		d.Items = append(d.Items, denialOf(&found[i]))
	}
	if n := len(found); n == s.Limit && found[n-1].Seq > 1 {
		d.Next = strconv.FormatUint(found[n-1].Seq, 10)
	}
	h.write(w, http.StatusOK, d)
}

func denialOf(d *recent.Denial) Denial {
	out := Denial{
		At: d.At.UTC(), Shadow: d.Shadow, Protocol: d.Protocol, Rule: d.Rule, Reason: d.Reason, Source: d.Source, Error: d.Err,
		Namespace: d.Namespace, Entity: hierarchy.Text(d.Entity), Parent: hierarchy.Text(d.Parent), Resource: hierarchy.Text(d.Resource),
		RetryAfterSeconds: d.RetryAfter.Seconds(),
	}
	if l := &d.Limit; l.Name != "" {
		out.Limit = &DeniedLimit{l.Name, l.Rate, l.Period.Seconds(), l.Burst, d.Cost, l.Text()}
	}
	return out
}

func (h *handler) top(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	by := recent.By(q.Get(paramBy))
	if by != recent.ByDenials && by != recent.ByConsumption {
		h.refuse(w, invalidQuery("entities are ranked by %s or by %s", recent.ByDenials, recent.ByConsumption))
		return
	}
	_, page, err := selected(q)
	if err != nil {
		h.refuse(w, err)
		return
	}
	if page.Limit == 0 {
		page.Limit = defaultTop
	}
	found := h.Recent.Top(by, q.Get(paramNamespace), min(page.Limit, hierarchy.MaxPage))
	t := Top{By: string(by), Since: found.Since.UTC(), List: NewList(make([]Rank, len(found.Ranks)), "")}
	for i, rank := range found.Ranks {
		t.Items[i] = Rank{rank.Limit, rank.Namespace, hierarchy.Text(rank.Entity), rank.AtLeast, rank.AtMost}
	}
	h.write(w, http.StatusOK, t)
}

// Denials asks for the last denials.
func (c *Client) Denials(ctx context.Context, q DenialsQuestion) (*Denials, error) {
	v := query(hierarchy.Selector{Resource: q.Resource}, q.Page)
	for name, value := range map[string]string{paramNamespace: q.Namespace, paramEntity: q.Entity, paramRule: q.Rule} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return get[*Denials](ctx, c, pathDenials, v)
}

// Top asks for the entities with the most of something.
func (c *Client) Top(ctx context.Context, q TopQuestion) (*Top, error) {
	v := query(hierarchy.Selector{}, hierarchy.Page{Limit: q.Limit})
	v.Set(paramBy, string(q.By))
	if q.Namespace != "" {
		v.Set(paramNamespace, q.Namespace)
	}
	return get[*Top](ctx, c, pathTop, v)
}
