package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/pkg/embedstore"
)

// What a service answers to explain is told as it is: only where none answers it
// can't be reached.
func TestExplainTellsTheCause(t *testing.T) {
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	many := []string{"--domain", "d"}
	for range 1001 {
		many = append(many, "--descriptor", "k=v")
	}
	one := []string{"--domain", "d", "--descriptor", "k=v"}
	for name, tc := range map[string]struct {
		address string
		request []string
		want    admin.Problem
	}{
		"a question that can't be asked": {serveAdmin(t, embedstore.New(embedstore.Config{})), many, admin.Problem{
			Code: "invalid_question", Message: "a question has 1,000 descriptors at most",
			Hint: "ask about descriptors of a domain, or about an HTTP request with a path",
		}},
		"another server": {page.URL, one, admin.Problem{
			Code: "unreachable", Message: page.Listener.Addr().String() + "/explain is no admin API of this service: 404 Not Found",
			Hint: "--server is the address of listen.admin of a running service",
		}},
		"nobody": {gone.URL, one, admin.Problem{
			Code: "unreachable", Message: `asking the server: Post "` + gone.URL + `/explain": dial tcp ` + gone.Listener.Addr().String() + ": connect: connection refused",
			Hint: "--server is the address of listen.admin of a running service",
		}},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"explain", "-o", "json", "--server", tc.address}, tc.request...)
		status := run(t.Context(), args, nil, &stdout, &stderr)
		var got failureJSON
		if err := json.Unmarshal(stderr.Bytes(), &got); err != nil || status != exitFailed || got.Error != tc.want {
			t.Errorf("%s: %d, %s %v", name, status, &stderr, err)
		}
	}
}
