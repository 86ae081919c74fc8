package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Client asks the admin API of a running service. It is a [Store]: the one that
// the service has. It is safe for concurrent use.
type Client struct {
	address string
	http    *http.Client
}

const (
	// clientTimeout bounds one question.
	clientTimeout = 30 * time.Second
	// maxAnswer is the longest answer that is read, in bytes: a page of items.
	maxAnswer = 64 << 20
)

// NewClient makes a client for the admin address of a service: host:port or
// unix:/path.
func NewClient(address string) *Client {
	transport := &http.Transport{DisableKeepAlives: true}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		address = "localhost"
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/")
	return &Client{address: address, http: &http.Client{Transport: transport}}
}

// Explain asks how the service would decide a request now.
func (c *Client) Explain(ctx context.Context, q *Question) (*Explanation, error) {
	var e Explanation
	if err := c.ask(ctx, http.MethodPost, pathExplain, q, &e); err != nil {
		return nil, err
	}
	return &e, nil
}

// Config asks for the configuration in force.
func (c *Client) Config(ctx context.Context) (*ConfigInfo, error) {
	var info ConfigInfo
	if err := c.ask(ctx, http.MethodGet, pathConfig, nil, &info); err != nil {
		return nil, err
	}
	return &info, nil
}

// ask asks a question within a bounded time.
func (c *Client) ask(ctx context.Context, method, path string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	response, err := c.send(ctx, method, path, question)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return c.problem(path, response.Status, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return c.stranger(path, err.Error())
	}
	return nil
}

// send sends a question. The caller closes the answer's body.
func (c *Client) send(ctx context.Context, method, path string, question any) (*http.Response, error) {
	var body io.Reader
	if question != nil {
		text, err := json.Marshal(question)
		if err != nil {
			return nil, fmt.Errorf("writing the question: %w", err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, body) //nolint:gosec // the address is for whoever asks to choose
	if err != nil {
		return nil, c.unreachable(err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(r) //nolint:gosec // as above
	if err != nil {
		if e := ctx.Err(); errors.Is(e, context.Canceled) {
			return nil, e
		}
		return nil, c.unreachable(err)
	}
	return response, nil
}

// unreachable is the problem that nobody answers.
func (c *Client) unreachable(err error) error {
	return &Problem{
		Code: CodeUnreachable, Message: fmt.Sprintf("asking the server: %v", err),
		Hint: "--server is the address of listen.admin of a running service",
	}
}

// problem is the one that the server answers.
func (c *Client) problem(path, status string, text []byte) error {
	var e apiError
	if json.Unmarshal(text, &e) != nil || e.Error.Message == "" {
		return c.stranger(path, status)
	}
	return e.err()
}

// stranger is the problem that somebody else answers.
func (c *Client) stranger(path, what string) error {
	return &Problem{
		Code: CodeUnreachable, Message: fmt.Sprintf("%s%s is no admin API of this service: %s", c.address, path, what),
		Hint: "--server is the address of listen.admin of a running service",
	}
}
