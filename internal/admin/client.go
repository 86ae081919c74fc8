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

// Client asks the admin API of a running service.
type Client struct {
	address string
	http    *http.Client
}

// clientTimeout bounds one question.
const clientTimeout = 10 * time.Second

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
	return &Client{address: address, http: &http.Client{Transport: transport, Timeout: clientTimeout}}
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

func (c *Client) ask(ctx context.Context, method, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("writing the question: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 16*maxBody))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		var e apiError
		if json.Unmarshal(text, &e) != nil || e.Error.Message == "" {
			return fmt.Errorf("%s%s is no admin API of this service: %s", c.address, path, response.Status)
		}
		return errors.New(e.Error.Message)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s%s is no admin API of this service: %w", c.address, path, err)
	}
	return nil
}
