// Command envoy measures how much longer a request takes through a real Envoy
// when the service decides about it than when a server that decides nothing does,
// behind the same filter: one connection, one request at a time, round after round.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"text/template"
	"time"

	"github.com/extauthz/extauthz/bench/internal/hist"
	"github.com/extauthz/extauthz/bench/internal/meter"
	"github.com/extauthz/extauthz/bench/internal/process"
	"github.com/extauthz/extauthz/integration/harness"
)

//go:embed envoy.yaml.tmpl
var configuration string

// mostLonger is the goal for the median.
const mostLonger = 15 * time.Microsecond

type options struct {
	extauthz, noop, config, root string
	rounds                       int
	warmup, duration, patience   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.extauthz, "extauthz", "../bin/extauthz", "the service's binary")
	flag.StringVar(&o.noop, "noop", "../bin/bench/noop", "the binary of the server that decides nothing")
	flag.StringVar(&o.config, "config", "extauthz.yaml", "the service's configuration")
	flag.StringVar(&o.root, "root", "..", "the folder that pins Envoy and has its binary in .tools")
	flag.IntVar(&o.rounds, "rounds", 60, "rounds: many and short, so that what drifts falls on both alike")
	flag.DurationVar(&o.duration, "duration", 200*time.Millisecond, "measured time of each run")
	flag.DurationVar(&o.warmup, "warmup", 50*time.Millisecond, "unmeasured time before each run")
	flag.DurationVar(&o.patience, "patience", time.Second, "how long to wait before a run for neighbours to be quiet")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "envoy:", err)
		os.Exit(1)
	}
}

// listener is one of Envoy's, before one of the servers.
type listener struct {
	Name, Cluster string
	ExtAuthz      bool
	Port          int
	p50, p99      []time.Duration // by round
}

// cluster is where a server listens.
type cluster struct {
	Name string
	Port int
}

func run(ctx context.Context, o *options) (err error) {
	group := process.NewGroup(os.Stderr)
	defer group.Stop()
	var clusters []cluster
	for _, c := range []harness.Command{
		{Name: "extauthz", Path: o.extauthz, Args: []string{"serve", "--config", o.config, "--metrics", "", "--admin", "", "--log-level", "warn"}},
		{Name: "noop", Path: o.noop, Args: []string{"-reject=false"}},
	} {
		port, err := group.Free()
		if err != nil {
			return err
		}
		c.Args = append(c.Args, "--grpc", process.Address(port))
		if _, err := group.Start(port, c); err != nil {
			return err
		}
		clusters = append(clusters, cluster{c.Name, port})
	}
	if err := group.Ready(ctx); err != nil {
		return err
	}
	var listeners []*listener
	for _, c := range clusters {
		for _, authz := range []bool{false, true} {
			l := &listener{Name: fmt.Sprintf("%s_%t", c.Name, authz), Cluster: c.Name, ExtAuthz: authz}
			if l.Port, err = group.Free(); err != nil {
				return err
			}
			listeners = append(listeners, l)
		}
	}
	envoy, err := startEnvoy(ctx, o.root, group, listeners, clusters)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, envoy.Stop(5*time.Second)) }()
	for round := range o.rounds {
		for _, l := range listeners {
			if err := l.measure(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", l.Name, err)
			}
		}
		if round%2 == 0 { // what comes first is not always the same
			slices.Reverse(listeners)
		}
	}
	report(os.Stdout, o, listeners)
	return nil
}

func startEnvoy(ctx context.Context, root string, group *process.Group, listeners []*listener, clusters []cluster) (*harness.Envoy, error) {
	binary, err := harness.FindEnvoy(root)
	if err != nil {
		return nil, err
	}
	admin, err := group.Free()
	if err != nil {
		return nil, err
	}
	backend, err := group.Free()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-envoy")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // Envoy has read it once it is ready
	path := filepath.Join(dir, "envoy.yaml")
	f, err := os.Create(path) //nolint:gosec // in a folder of our own
	if err != nil {
		return nil, err
	}
	err = template.Must(template.New("").Parse(configuration)).Execute(f, struct {
		Admin, Backend int
		Listeners      []*listener
		Clusters       []cluster
	}{admin, backend, listeners, clusters})
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return harness.StartEnvoy(ctx, harness.EnvoyConfig{Binary: binary, Config: path, AdminPort: admin, Workers: 1})
}

// measure asks for a while, one request after the other on one connection.
func (l *listener) measure(ctx context.Context, o *options) error {
	client := http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	meter.Quiet(ctx, o.patience)
	var times hist.H
	start := time.Now()
	for {
		begun := time.Now()
		if begun.Sub(start) > o.warmup+o.duration {
			break
		}
		if err := l.ask(ctx, &client); err != nil {
			return err
		}
		if begun.Sub(start) > o.warmup {
			times.Add(time.Since(begun))
		}
	}
	l.p50, l.p99 = append(l.p50, times.Quantile(.5)), append(l.p99, times.Quantile(.99))
	return nil
}

func (l *listener) ask(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/open/items/42", l.Port), http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("x-tenant", "tenant-0")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("the answer is %s", res.Status)
	}
	return errors.Join(err, res.Body.Close())
}

func report(w io.Writer, o *options, listeners []*listener) {
	of := map[string]*listener{}
	for _, l := range listeners {
		of[l.Name] = l
	}
	fmt.Fprintf(w, "%d rounds of %v, Envoy with one worker, one connection. Medians (quartiles).\n\n", o.rounds, o.duration)
	fmt.Fprintln(w, "| | no-op p50 µs | extauthz p50 µs | longer at p50, µs | longer at p99, µs | goal at p50 | |\n|---|--:|--:|--:|--:|--:|---|")
	for name, authz := range map[string]bool{"RLS": false, "ext_authz": true} {
		noop, service := of[fmt.Sprintf("noop_%t", authz)], of[fmt.Sprintf("extauthz_%t", authz)]
		longer, slowest := differences(service.p50, noop.p50), differences(service.p99, noop.p99)
		verdict := "met"
		if median(longer) > mostLonger {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | ≤ %d | %s |\n", name, spread(noop.p50), spread(service.p50), spread(longer), spread(slowest), mostLonger.Microseconds(), verdict)
	}
}

// differences are those within each round.
func differences(a, b []time.Duration) []time.Duration {
	d := make([]time.Duration, len(a))
	for i := range a {
		d[i] = a[i] - b[i]
	}
	return d
}

func median(v []time.Duration) time.Duration { return slices.Sorted(slices.Values(v))[len(v)/2] }

// spread is the median, and the quartiles: of many short rounds the least and the
// most say how the machine was, not how the servers are.
func spread(v []time.Duration) string {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	sorted := slices.Sorted(slices.Values(v))
	return fmt.Sprintf("%.0f (%.0f–%.0f)", us(sorted[len(v)/2]), us(sorted[len(v)/4]), us(sorted[len(v)*3/4]))
}
