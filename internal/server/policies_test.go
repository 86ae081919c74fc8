package server

import (
	"log/slog"
	"testing"

	"github.com/extauthz/extauthz/internal/config"
)

// TestAReloadKeepsTheStore: a file that names another store changes nothing of
// how the one in use is asked.
func TestAReloadKeepsTheStore(t *testing.T) {
	load := func(text string) *config.Config {
		c, report := config.Parse("x.yaml", []byte(text), config.Options{})
		mustDo(t, report.Err())
		return c
	}
	next := load("store: {type: dynamodb}\nlocal_share: 0.5")
	o := &Options{
		Config: load("{}"), Log: slog.New(slog.DiscardHandler),
		Reload: func() (*config.Config, *config.Report) { return next, &config.Report{} },
	}
	k, err := newCore(t.Context(), o)
	mustDo(t, err)
	defer func() { mustDo(t, k.close(t.Context())) }()
	p := newPolicies(o, k)
	p.reload(t.Context())
	if got := p.inForce(); !got.InProcess || got.LocalShare != 0.5 {
		t.Errorf("in the process: %t, share %v", got.InProcess, got.LocalShare)
	}
	if got := p.about().Restart; len(got) != 1 || got[0] != "store" {
		t.Errorf("a restart is needed for %v", got)
	}
}
