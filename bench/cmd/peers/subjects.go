package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/extauthz/extauthz/bench/internal/process"
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
	ctx context.Context //nolint:containedctx // of one start
}

// startAll starts what there are binaries of. The group is to be stopped, also
// with an error.
func startAll(ctx context.Context, o *options) (*process.Group, []*subject, error) {
	s := &starter{options: o, Group: process.NewGroup(ctx, os.Stderr), ctx: ctx}
	var all []*subject
	for _, make := range []struct {
		wanted bool
		start  func() (*subject, error)
	}{
		{true, s.noop}, {true, s.extauthz}, {o.standIn != "", s.dynamodb},
		{o.ratelimit != "", s.ratelimit}, {o.limitador != "", s.limitador},
	} {
		if !make.wanted {
			continue
		}
		subject, err := make.start()
		if err != nil {
			return s.Group, nil, err
		}
		all = append(all, subject)
	}
	return s.Group, all, s.Ready()
}

// server starts a binary that is told its address by args.
func (s *starter) server(name, path string, env []string, args func(address string) []string) (*process.Process, error) {
	address, err := process.FreeAddress(s.ctx)
	if err != nil {
		return nil, err
	}
	return s.Start(process.Command{Name: name, Address: address, Path: path, Env: env, Args: args(address)})
}

func (s *starter) noop() (*subject, error) {
	x := &subject{name: noop}
	var err error
	for reject, to := range map[bool]**process.Process{false: &x.allows, true: &x.rejects} {
		*to, err = s.server(noop, s.options.noop, nil, func(address string) []string {
			return []string{"-grpc", address, fmt.Sprintf("-reject=%t", reject)}
		})
		if err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (s *starter) serve(name, config string, env []string, more ...string) (*process.Process, error) {
	return s.server(name, s.options.extauthz, env, func(address string) []string {
		return append([]string{
			"serve", "--config", filepath.Join(s.configs, config), "--grpc", address,
			"--metrics", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn",
		}, more...)
	})
}

func (s *starter) extauthz() (*subject, error) {
	p, err := s.serve(extauthz, "extauthz.yaml", nil)
	return &subject{name: extauthz, allows: p, rejects: p, exact: true}, err
}

// dynamodb is the service on the stand-in, which takes 5 ms for a write. What
// the stand-in itself costs says nothing of DynamoDB, and isn't counted.
func (s *starter) dynamodb() (*subject, error) {
	table, err := s.server("stand-in", s.standIn, nil, func(address string) []string { return []string{"-listen", address} })
	if err != nil {
		return nil, err
	}
	if err := s.Ready(); err != nil { // the service asks it at once
		return nil, err
	}
	p, err := s.serve(dynamodb, "dynamodb.yaml",
		[]string{"AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none", "AWS_EC2_METADATA_DISABLED=true"},
		"--stack", "bench", "--region", "us-east-1", "--endpoint-url", "http://"+table.Address)
	return &subject{name: dynamodb, allows: p}, err
}

func (s *starter) ratelimit() (*subject, error) {
	redis, err := s.server("Redis", s.redis, nil, func(address string) []string {
		return []string{"--port", portOf(address), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"}
	})
	if err != nil {
		return nil, err
	}
	if err := s.Ready(); err != nil {
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
	var address string
	for _, port := range []string{"", "DEBUG_", "GRPC_"} { // the last is what it is asked at
		if address, err = process.FreeAddress(s.ctx); err != nil {
			return nil, err
		}
		env = append(env, port+"HOST=127.0.0.1", port+"PORT="+portOf(address))
	}
	p, err := s.Start(process.Command{Name: "ratelimit", Address: address, Path: s.options.ratelimit, Env: env})
	return &subject{name: ratelimit, allows: p, rejects: p, store: []*process.Process{redis}, exact: true}, err
}

func (s *starter) limitador() (*subject, error) {
	http, err := process.FreeAddress(s.ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.server(limitador, s.options.limitador, []string{"RUST_LOG=error"}, func(address string) []string {
		return []string{
			"--rls-ip", "127.0.0.1", "--rls-port", portOf(address), "--http-ip", "127.0.0.1", "--http-port", portOf(http),
			filepath.Join(s.configs, "limitador.yaml"), "memory",
		}
	})
	return &subject{name: limitador, allows: p, rejects: p, exact: true}, err
}
