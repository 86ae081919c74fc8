package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/extauthz/extauthz/bench/internal/process"
	"github.com/extauthz/extauthz/integration/harness"
)

// The names of the subjects, as the tables have them.
const (
	noop      = "no-op"
	extauthz  = "extauthz"
	dynamodb  = "extauthz, DynamoDB"
	ratelimit = "ratelimit + Redis"
	limitador = "Limitador"
)

// subject is a service that is measured.
type subject struct {
	name string
	// allows and rejects answer requests that are to be allowed and rejected;
	// rejects is nil where that can't be asked of it.
	allows, rejects *process.Process
	store           []*process.Process // whose cost is the service's too
	exact           bool               // it enforces limits: its accuracy can be measured
}

// pids are the processes whose cost counts.
func (s *subject) pids(p *process.Process) []int {
	pids := []int{p.PID()}
	for _, store := range s.store {
		pids = append(pids, store.PID())
	}
	return pids
}

// starter starts processes on free ports.
type starter struct {
	*options
	*process.Group
}

// startAll starts what there are binaries of. The group is to be stopped, also
// with an error.
func startAll(ctx context.Context, o *options) (*process.Group, []*subject, error) {
	s := &starter{options: o, Group: process.NewGroup(os.Stderr)}
	var all []*subject
	for _, make := range []struct {
		wanted bool
		start  func(context.Context) (*subject, error)
	}{
		{true, s.noop},
		{true, s.extauthz},
		{o.standIn != "", s.dynamodb},
		{o.ratelimit != "", s.ratelimit},
		{o.limitador != "", s.limitador},
	} {
		if !make.wanted {
			continue
		}
		subject, err := make.start(ctx)
		if err != nil {
			return s.Group, nil, err
		}
		all = append(all, subject)
	}
	return s.Group, all, s.Ready(ctx)
}

// server starts a binary that is told its port by args.
func (s *starter) server(name, path string, env []string, args func(port int) []string) (*process.Process, error) {
	port, err := s.Free()
	if err != nil {
		return nil, err
	}
	return s.Start(port, harness.Command{Name: name, Path: path, Env: env, Args: args(port)})
}

func (s *starter) noop(context.Context) (*subject, error) {
	x := &subject{name: noop}
	var err error
	for reject, to := range map[bool]**process.Process{false: &x.allows, true: &x.rejects} {
		*to, err = s.server(noop, s.options.noop, nil, func(port int) []string {
			return []string{"-grpc", process.Address(port), fmt.Sprintf("-reject=%t", reject)}
		})
		if err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (s *starter) serve(name, config string, env []string, more ...string) (*process.Process, error) {
	return s.server(name, s.options.extauthz, env, func(port int) []string {
		return append([]string{
			"serve", "--config", filepath.Join(s.configs, config), "--grpc", process.Address(port),
			"--metrics", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn",
		}, more...)
	})
}

func (s *starter) extauthz(context.Context) (*subject, error) {
	p, err := s.serve(extauthz, "extauthz.yaml", nil)
	return &subject{name: extauthz, allows: p, rejects: p, exact: true}, err
}

// dynamodb is the service on the stand-in, which takes 5 ms for a write. What
// the stand-in itself costs says nothing of DynamoDB, and isn't counted.
func (s *starter) dynamodb(ctx context.Context) (*subject, error) {
	table, err := s.server("stand-in", s.standIn, nil, func(port int) []string { return []string{"-listen", process.Address(port)} })
	if err != nil {
		return nil, err
	}
	if err := s.Ready(ctx); err != nil { // the service asks it at once
		return nil, err
	}
	p, err := s.serve(dynamodb, "dynamodb.yaml",
		[]string{"AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none", "AWS_EC2_METADATA_DISABLED=true"},
		"--stack", "bench", "--region", "us-east-1", "--endpoint-url", "http://"+table.Address)
	return &subject{name: dynamodb, allows: p}, err
}

func (s *starter) ratelimit(ctx context.Context) (*subject, error) {
	redis, err := s.server("Redis", s.redis, nil, func(port int) []string {
		return []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"}
	})
	if err != nil {
		return nil, err
	}
	if err := s.Ready(ctx); err != nil {
		return nil, err
	}
	root, err := filepath.Abs(s.configs)
	if err != nil {
		return nil, err
	}
	env := []string{
		"LOG_LEVEL=error", "USE_STATSD=false", "DISABLE_STATS=true",
		"RUNTIME_ROOT=" + root, "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_WATCH_ROOT=false",
		"REDIS_SOCKET_TYPE=tcp", "REDIS_URL=" + redis.Address, "LOCAL_CACHE_SIZE_IN_BYTES=67108864",
	}
	var port int
	for _, of := range []string{"", "DEBUG_", "GRPC_"} { // the last is what it is asked at
		if port, err = s.Free(); err != nil {
			return nil, err
		}
		env = append(env, of+"HOST=127.0.0.1", of+"PORT="+strconv.Itoa(port))
	}
	p, err := s.Start(port, harness.Command{Name: "ratelimit", Path: s.options.ratelimit, Env: env})
	return &subject{name: ratelimit, allows: p, rejects: p, store: []*process.Process{redis}, exact: true}, err
}

func (s *starter) limitador(context.Context) (*subject, error) {
	http, err := s.Free()
	if err != nil {
		return nil, err
	}
	p, err := s.server(limitador, s.options.limitador, []string{"RUST_LOG=error"}, func(port int) []string {
		return []string{
			"--rls-ip", "127.0.0.1", "--rls-port", strconv.Itoa(port), "--http-ip", "127.0.0.1", "--http-port", strconv.Itoa(http),
			filepath.Join(s.configs, "limitador.yaml"), "memory",
		}
	})
	return &subject{name: limitador, allows: p, rejects: p, exact: true}, err
}
