package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// filter is one of Envoy's two ways to ask.
type filter struct {
	title string
	port  int
}

var filters = []filter{
	{"Through the rate limit filter (RLS)", portRateLimit},
	{"Through ext_authz", portExtAuthz},
}

// step is one request and the answer that it should get.
type step struct {
	tenant string
	status int
}

// steps are played through each filter: the quickstart gives each tenant two
// requests a minute.
var steps = []step{
	{"acme", http.StatusOK},
	{"acme", http.StatusOK},
	{"acme", http.StatusTooManyRequests},
	{"globex", http.StatusOK},
}

// longestWait is when the next request passes at the latest, in seconds: two a
// minute is one in 30 seconds.
const longestWait = 30

// answer is what a client sees.
type answer struct {
	status string
	code   int
	header http.Header
	body   string
}

// play sends the steps through each filter, prints the answers and counts those
// that are wrong.
func play(ctx context.Context, q *quickstart, w io.Writer) (wrong int, err error) {
	for _, f := range filters {
		printf(w, "\n%s\n", f.title)
		for _, s := range steps {
			url := fmt.Sprintf("http://127.0.0.1:%d/", q.port(f.port))
			a, err := ask(ctx, url, s.tenant)
			if err != nil {
				return wrong, err
			}
			printf(w, "  GET %s  x-tenant: %-8s", url, s.tenant)
			printAnswer(w, a)
			if err := s.check(a); err != nil {
				wrong++
				printf(w, "      WRONG: %v\n", err)
			}
		}
	}
	return wrong, nil
}

func ask(ctx context.Context, url, tenant string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, fmt.Errorf("asking %s: %w", url, err)
	}
	req.Header.Set("X-Tenant", tenant)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("asking %s: %w", url, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return answer{}, fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	return answer{status: resp.Status, code: resp.StatusCode, header: resp.Header, body: strings.TrimSpace(string(body))}, nil
}

// shown are the headers worth a line, as they are spelt.
var shown = []string{"retry-after", "ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "content-type"}

// printAnswer prints an answer; of a denial the headers too, one a line.
func printAnswer(w io.Writer, a answer) {
	if a.code == http.StatusOK {
		printf(w, "  %s  %s\n", a.status, a.body)
		return
	}
	printf(w, "  %s\n", a.status)
	for _, name := range shown {
		for _, v := range a.header[textproto.CanonicalMIMEHeaderKey(name)] {
			printf(w, "      %s: %s\n", name, v)
		}
	}
	if a.body != "" {
		printf(w, "      %s\n", a.body)
	}
}

// check says what is wrong with an answer.
func (s step) check(a answer) error {
	if a.code != s.status {
		return fmt.Errorf("the answer should be %d", s.status)
	}
	if s.status != http.StatusTooManyRequests {
		return nil
	}
	after := a.header.Get("Retry-After")
	n, err := strconv.Atoi(after)
	if err != nil || n < 1 || n > longestWait {
		return fmt.Errorf("retry-after is %q, it should be a number from 1 to %d", after, longestWait)
	}
	return nil
}

// printNext says what a visitor may try.
func printNext(q *quickstart, w io.Writer) {
	printf(w, `
It runs until Ctrl-C. Try, in another terminal:
  curl -i -H 'x-tenant: acme' http://127.0.0.1:%[1]d/           # again, through the rate limit filter
  curl -i -H 'x-tenant: acme' http://127.0.0.1:%[2]d/orders     # again, through ext_authz
  curl -i http://127.0.0.1:%[2]d/                               # no tenant: limited by address
  sed -i 's|2/min|100/min|' %[3]s    # edit its limits: in force at once, see the log below
  curl -s http://127.0.0.1:%[4]d/metrics | grep ^extauthz_     # what it counted

`, q.port(portRateLimit), q.port(portExtAuthz), q.service, q.port(portMetrics))
}
