package main

import (
	"context"
	"io"
	"path/filepath"

	"github.com/extauthz/extauthz/bench/internal/process"
)

// servers are the processes under test.
type servers struct {
	*process.Group
	service, accepting, rejecting *process.Process
}

// of is the one that a scenario asks.
func (s *servers) of(x scenario) *process.Process {
	switch {
	case x.service:
		return s.service
	case x.reject:
		return s.rejecting
	}
	return s.accepting
}

// startAll starts the servers on free ports of loopback. What it returns is to
// be stopped, also with an error.
func startAll(ctx context.Context, o *options, stderr io.Writer) (*servers, error) {
	s := &servers{Group: process.NewGroup(ctx, stderr)}
	config, err := filepath.Abs(o.config)
	if err != nil {
		return s, err
	}
	for _, n := range []struct {
		to         **process.Process
		name, path string
		args       []string
	}{
		{&s.service, "extauthz", o.extauthz, []string{
			"serve", "--config", config, "--metrics", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn",
		}},
		{&s.accepting, "noop", o.noop, []string{"-reject=false"}},
		{&s.rejecting, "noop", o.noop, []string{"-reject=true"}},
	} {
		address, err := process.FreeAddress(ctx)
		if err != nil {
			return s, err
		}
		*n.to, err = s.Start(process.Command{Name: n.name, Address: address, Path: n.path, Args: append(n.args, "--grpc", address)})
		if err != nil {
			return s, err
		}
	}
	return s, s.Ready()
}
