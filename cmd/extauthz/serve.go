package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/server"
	"github.com/extauthz/extauthz/internal/telemetry"
)

func newServe() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer Envoy until SIGTERM or Ctrl-C",
		Long: `serve answers Envoy's rate limit service and ext_authz on one port, serves
metrics and probes on another and the admin API on a third.

A changed configuration file is in force with the next request; one that is
broken is refused, logged and counted, and the one before stays in force. SIGHUP
loads it at once. Without a file, descriptors and context extensions named
entity (or entity_id), resource and namespace work as they are.

SIGTERM and SIGINT stop it in order: it tells health checks first and finishes
what it has begun. A second signal ends it at once.`,
		Example: `  extauthz serve -c extauthz.yaml
  extauthz serve -c extauthz.yaml --grpc unix:/run/extauthz/grpc.sock --log-format json`,
		Args: noArgs,
		RunE: serve,
	}
	config.Flags(c.Flags())
	return c
}

func serve(c *cobra.Command, _ []string) error {
	path, err := c.Flags().GetString("config")
	if err != nil {
		return err
	}
	loaded, report := config.Load(path, config.Options{Flags: c.Flags()})
	if report.Err() != nil {
		printf(c.ErrOrStderr(), "%s", report)
		return invalid(path, report)
	}
	level := new(slog.LevelVar)
	level.Set(loaded.Log.Level)
	log, err := telemetry.NewLog(c.ErrOrStderr(), loaded.Log.Format, level)
	if err != nil {
		return err
	}
	server.LogProblems(c.Context(), log, report)
	defer server.TuneGC()()
	defer server.TuneProcessors(c.Context())()
	// The files that it names are watched, and refused, for themselves.
	reload := func() (*config.Config, *config.Report) {
		return config.Load(path, config.Options{Flags: c.Flags(), LeaveFiles: true})
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	return server.Run(c.Context(), server.Options{
		Config: loaded, Reload: reload, Hangup: hangup, Version: version, Log: log, Level: level,
	})
}
