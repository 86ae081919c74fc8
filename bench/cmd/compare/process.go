package main

import (
	"context"
	"io"
	"path/filepath"

	"github.com/extauthz/extauthz/bench/internal/process"
	"github.com/extauthz/extauthz/integration/harness"
)

// servers are the processes under test.
type servers struct {
	*process.Group
	accepting, rejecting *process.Process
	services             [full + 1]*process.Process // :: server -> its process; none of noop
}

// of is the one that a scenario asks.
func (s *servers) of(x scenario) *process.Process {
	switch {
	case x.server != noop:
		return s.services[x.server]
	case x.reject:
		return s.rejecting
	}
	return s.accepting
}

// startAll starts the servers on free ports of loopback. What it returns is to
// be stopped, also with an error.
func startAll(ctx context.Context, o *options, stderr io.Writer) (*servers, error) {
	s := &servers{Group: process.NewGroup(stderr)}
	type start struct {
		to         **process.Process
		name, path string
		args       []string
	}
	all := []start{{&s.accepting, "noop", o.noop, []string{"-reject=false"}}, {&s.rejecting, "noop", o.noop, []string{"-reject=true"}}}
	for who, file := range map[server]string{service: o.config, plain: o.plain, full: o.full} {
		config, err := filepath.Abs(file)
		if err != nil {
			return s, err
		}
		all = append(all, start{&s.services[who], "extauthz", o.extauthz, []string{
			"serve", "--config", config, "--metrics", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn",
		}})
	}
	for _, n := range all {
		port, err := s.Free()
		if err != nil {
			return s, err
		}
		args := append(n.args, "--grpc", process.Address(port))
		if *n.to, err = s.Start(port, harness.Command{Name: n.name, Path: n.path, Args: args}); err != nil {
			return s, err
		}
	}
	return s, s.Ready(ctx)
}
