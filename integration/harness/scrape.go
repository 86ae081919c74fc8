package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// poll is how often a readiness page is asked.
const poll = 20 * time.Millisecond

// get fetches a page; a status other than 200 is an error.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", url, err)
	}
	req.Close = true // no idle connection is left behind to be counted as a leak
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", url, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end below
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// waitReady asks url until it answers 200. It gives up when ctx ends, or at once
// when the process that should answer has ended.
func waitReady(ctx context.Context, p *Process, url string) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		_, err := get(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("%s ended before it was ready (%v):\n%s", p.name, p.err, p.Tail(40)) //nolint:errorlint // may be nil: a clean exit is a failure too
		case <-ctx.Done():
			return fmt.Errorf("%s isn't ready: %w\n%s", p.name, err, p.Tail(40))
		case <-tick.C:
		}
	}
}

// Samples are numbers by name: a line of Envoy's statistics, or a sample of a
// Prometheus page with its labels as printed.
type Samples map[string]float64

// Sum adds up what keep accepts.
func (s Samples) Sum(keep func(name string) bool) float64 {
	var sum float64
	for name, v := range s {
		if keep(name) {
			sum += v
		}
	}
	return sum
}

// Family adds up the samples of a Prometheus name whose labels hold each of
// the given texts, such as `result="ok"`.
func (s Samples) Family(name string, labels ...string) float64 {
	return s.Sum(func(sample string) bool {
		rest, ok := strings.CutPrefix(sample, name)
		if !ok || (rest != "" && rest[0] != '{') {
			return false
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				return false
			}
		}
		return true
	})
}

// parseSamples reads lines of a name and a number, separated by sep; comments
// and lines that end in no number (Envoy prints texts and histograms) are passed
// over.
func parseSamples(page, sep string) Samples {
	samples := Samples{}
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		i := strings.LastIndex(line, sep)
		if i < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(strings.TrimSpace(line[i+len(sep):]), 64); err == nil {
			samples[line[:i]] = v
		}
	}
	return samples
}
