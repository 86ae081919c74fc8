//go:build integration

package examples

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What a README's commands are made of.
var (
	curlLine   = regexp.MustCompile(`^    curl -i (.*?)http://127\.0\.0\.1:(\d+)(\S*) +# ((?:(?:\d{3}|closed)(?:, )?)+)`)
	curlHeader = regexp.MustCompile(`-H (?:'([^']*)'|"([^"]*)")`)
	shellValue = regexp.MustCompile(`(?m)^    ([A-Z]+)=(\S+)$`)
)

// TestREADMEsAreTrue types the commands of the READMEs, each as often as it has
// answers beside it, and compares those. (The answers of llm depend on when a cost
// is booked: TestLLM waits for it.)
func TestREADMEsAreTrue(t *testing.T) {
	for name, commands := range map[string]int{
		"quickstart": 3, "ext-authz": 4, "tiers": 2, "costs": 3, "tcp": 2, "rollout": 1, "override": 3,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(folder, name, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			e, typed := start(t, name), 0
			for line := range strings.Lines(string(text)) {
				if m := curlLine.FindStringSubmatch(line); m != nil {
					typed++
					e.typeCommand(t, values(string(text)).Replace(m[1]), m[2], m[3], strings.Split(strings.TrimSuffix(m[4], ", "), ", "))
				}
			}
			if typed != commands {
				t.Errorf("%d commands have answers beside them, want %d", typed, commands)
			}
		})
	}
}

// values are the variables that a README sets.
func values(text string) *strings.Replacer {
	var pairs []string
	for _, m := range shellValue.FindAllStringSubmatch(text, -1) {
		pairs = append(pairs, "$"+m[1], m[2])
	}
	return strings.NewReplacer(pairs...)
}

// typeCommand asks as curl does, on a connection of its own each time.
func (e *example) typeCommand(t *testing.T, options, port, path string, answers []string) {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range answers {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.addr(n)+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		for _, h := range curlHeader.FindAllStringSubmatch(options, -1) {
			header, value, _ := strings.Cut(h[1]+h[2], ": ")
			req.Header.Add(header, value)
		}
		got := "closed"
		if resp, err := e.client.Do(req); err == nil {
			_ = resp.Body.Close()
			got = strconv.Itoa(resp.StatusCode)
		}
		if got != want {
			t.Errorf("%s%s, answer %d: %s, want %s", options, path, i+1, got, want)
		}
	}
}
