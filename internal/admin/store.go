package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

var _ Store = (*Client)(nil)

// get asks for what is at a path, with a query.
func get[T any](ctx context.Context, c *Client, path string, q url.Values) (answer T, err error) {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	err = c.ask(ctx, http.MethodGet, path, nil, &answer)
	return answer, err
}

// post asks for something to be done.
func post[T any](ctx context.Context, c *Client, path string, question any) (answer T, err error) {
	err = c.ask(ctx, http.MethodPost, path, question, &answer)
	return answer, err
}

// of is a path below a namespace's.
func of(namespace, path string) (string, error) {
	if err := ratelimit.CheckNamespace(namespace); err != nil {
		// What can't be a name is none that is registered.
		return "", fmt.Errorf("%w: %w", err, hierarchy.ErrUnknownNamespace)
	}
	return "/namespaces/" + url.PathEscape(namespace) + path, nil
}

// Mark implements [hierarchy.Source].
func (c *Client) Mark(ctx context.Context, namespace string) (hierarchy.Mark, error) {
	path, err := of(namespace, "/mark")
	if err != nil {
		return hierarchy.Mark{}, err
	}
	m, err := get[markJSON](ctx, c, path, nil)
	return hierarchy.Mark(m), err
}

// Changes implements [hierarchy.Source].
func (c *Client) Changes(ctx context.Context, namespace string, after hierarchy.Mark) ([]hierarchy.Change, error) {
	path, err := of(namespace, "/changes")
	if err != nil {
		return nil, err
	}
	q := url.Values{paramID: {after.ID}, paramRevision: {strconv.FormatInt(after.Revision, 10)}}
	l, err := get[List[hierarchy.Change]](ctx, c, path, q)
	return l.Items, err
}

// Items implements [hierarchy.Source].
func (c *Client) Items(ctx context.Context, namespace string, refs []hierarchy.Ref) ([]hierarchy.Item, error) {
	path, err := of(namespace, "/items/read")
	if err != nil {
		return nil, err
	}
	for _, r := range refs {
		if err := r.Check(); err != nil {
			return nil, err
		}
	}
	l, err := post[List[hierarchy.Item]](ctx, c, path, refsJSON{refs})
	return l.Items, err
}

// Edit implements [hierarchy.Editor].
func (c *Client) Edit(ctx context.Context, namespace string, e hierarchy.Edit) (int64, error) {
	path, err := of(namespace, "/edits")
	if err != nil {
		return 0, err
	}
	if err := e.Check(); err != nil { // some faults have no form in JSON
		return 0, err
	}
	done, err := post[revisionJSON](ctx, c, path, editOf(&e))
	return done.Revision, err
}

// List implements [hierarchy.Editor].
func (c *Client) List(ctx context.Context, namespace string, s hierarchy.Selector, p hierarchy.Page) (hierarchy.Listing, error) {
	path, err := of(namespace, "/items")
	if err != nil {
		return hierarchy.Listing{}, err
	}
	l, err := get[List[hierarchy.Item]](ctx, c, path, query(s, p))
	return hierarchy.Listing{Items: l.Items, Next: l.Next}, err
}

// Events implements [hierarchy.Editor].
func (c *Client) Events(ctx context.Context, namespace string, s hierarchy.Selector, p hierarchy.Page) (hierarchy.EventListing, error) {
	path, err := of(namespace, "/events")
	if err != nil {
		return hierarchy.EventListing{}, err
	}
	l, err := get[List[hierarchy.Event]](ctx, c, path, query(s, p))
	return hierarchy.EventListing{Events: l.Items, Next: l.Next}, err
}

// RegisterNamespace implements [hierarchy.Namespaces].
func (c *Client) RegisterNamespace(ctx context.Context, name string, by hierarchy.Cause) (hierarchy.Namespace, error) {
	n, err := post[NamespaceInfo](ctx, c, "/namespaces", registration{name, causeOf(by)})
	return n.namespace(), err
}

// Namespace implements [hierarchy.Namespaces].
func (c *Client) Namespace(ctx context.Context, name string) (hierarchy.Namespace, error) {
	path, err := of(name, "")
	if err != nil {
		return hierarchy.Namespace{}, err
	}
	n, err := get[NamespaceInfo](ctx, c, path, nil)
	return n.namespace(), err
}

// Namespaces implements [hierarchy.Namespaces].
func (c *Client) Namespaces(ctx context.Context, p hierarchy.Page) (hierarchy.NamespaceListing, error) {
	return c.namespaceList(ctx, "/namespaces", p)
}

// Orphans implements [hierarchy.Namespaces].
func (c *Client) Orphans(ctx context.Context, p hierarchy.Page) (hierarchy.NamespaceListing, error) {
	return c.namespaceList(ctx, "/orphans", p)
}

func (c *Client) namespaceList(ctx context.Context, path string, p hierarchy.Page) (hierarchy.NamespaceListing, error) {
	l, err := get[List[NamespaceInfo]](ctx, c, path, query(hierarchy.Selector{}, p))
	all := hierarchy.NamespaceListing{Next: l.Next}
	for _, n := range l.Items {
		all.Namespaces = append(all.Namespaces, n.namespace())
	}
	return all, err
}

// DeleteNamespace implements [hierarchy.Namespaces].
func (c *Client) DeleteNamespace(ctx context.Context, name string, by hierarchy.Cause) (hierarchy.Namespace, error) {
	path, err := of(name, "/delete")
	if err != nil {
		return hierarchy.Namespace{}, err
	}
	n, err := post[NamespaceInfo](ctx, c, path, causeOf(by))
	return n.namespace(), err
}

// orphan is a path below that of a namespace without a name.
func orphan(id, path string) (string, error) {
	if id == "" {
		return "", fmt.Errorf("an empty id: %w", hierarchy.ErrUnknownNamespace)
	}
	return "/orphans/" + url.PathEscape(id) + path, nil
}

// RecoverNamespace implements [hierarchy.Namespaces].
func (c *Client) RecoverNamespace(ctx context.Context, id string, by hierarchy.Cause) (hierarchy.Namespace, error) {
	path, err := orphan(id, "/recover")
	if err != nil {
		return hierarchy.Namespace{}, err
	}
	n, err := post[NamespaceInfo](ctx, c, path, causeOf(by))
	return n.namespace(), err
}

// errCut is an answer to a purge that has no end.
var errCut = errors.New("the server's answer ended before the purge did: repeat the command, it goes on from there")

// PurgeNamespace implements [hierarchy.Namespaces]. It takes as long as ctx
// lasts.
func (c *Client) PurgeNamespace(ctx context.Context, id string, progress func(removed int)) error {
	path, err := orphan(id, "/purge")
	if err != nil {
		return err
	}
	response, err := c.send(ctx, http.MethodPost, path, struct{}{})
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		return errors.Join(err, c.problem(path, response.Status, text))
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		var line purgeLine
		if err := json.Unmarshal(bytes.TrimSpace(lines.Bytes()), &line); err != nil {
			return fmt.Errorf("reading the server's answer: %w", err)
		}
		switch {
		case line.Failed != nil:
			return line.Failed.err()
		case line.Done:
			return nil
		case progress != nil:
			progress(line.Removed)
		}
	}
	return errors.Join(errCut, lines.Err())
}
