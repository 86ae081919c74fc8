package server

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/telemetry"
)

// policies has the policy in force, and replaces it when the configuration has
// changed: whole, or not at all.
type policies struct {
	load     func() (*config.Config, *config.Report) // nil: it can't be loaded again
	started  *config.Config                          // what the process runs with
	metrics  *telemetry.Metrics
	observer *telemetry.Observer
	log      *slog.Logger
	now      func() time.Time

	current atomic.Pointer[decision.Policy]

	mu   sync.Mutex // one reload at a time
	info admin.ConfigInfo
}

func newPolicies(o *Options, k *core) *policies {
	p := &policies{
		load: o.Reload, started: o.Config, metrics: k.metrics, observer: k.observer, log: o.Log, now: time.Now,
		info: admin.ConfigInfo{Path: o.Config.Path},
	}
	p.use(o.Config)
	p.metrics.Loaded(o.Config.Sum, p.info.Loaded)
	return p
}

// inForce is the policy to decide by.
func (p *policies) inForce() *decision.Policy { return p.current.Load() }

// use puts a configuration in force. The caller holds mu, or is alone.
func (p *policies) use(c *config.Config) {
	policy := policyOf(c, p.started.Store.Type == config.StoreEmbedded)
	p.observer.Use(policy)
	p.current.Store(policy)
	p.info.Config, p.info.Loaded, p.info.Refused = c.Sum, p.now().UTC(), ""
	p.info.Restart = config.RestartNeeded(p.started, c)
}

// about says what is in force.
func (p *policies) about() admin.ConfigInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info
}

// reload loads the configuration anew. One that is refused leaves the one in
// force as it is.
func (p *policies) reload(ctx context.Context) {
	if p.load == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c, report := p.load()
	LogProblems(ctx, p.log, report)
	if err := report.Err(); err != nil {
		p.info.Refused = err.Error()
		p.metrics.ReloadFailed()
		p.log.Error("the changed configuration is refused, the one before stays in force",
			"in_force", p.info.Config, "errors", report.Errors())
		return
	}
	was := p.info.Config
	p.use(c)
	// The last thing to happen: whoever sees the count finds the policy in force.
	p.metrics.Reloaded(c.Sum, p.info.Loaded)
	p.log.Info("the changed configuration is in force", "config", c.Sum, "before", was, "rules", len(c.Rules.All()))
	if len(p.info.Restart) > 0 {
		p.log.Warn("a restart is needed for what has changed beside rules and limits", "keys", strings.Join(p.info.Restart, ", "))
	}
}

// mostLogged is how many problems of a configuration are logged.
const mostLogged = 20

// LogProblems logs what is wrong or doubtful in a configuration, each in a line.
func LogProblems(ctx context.Context, log *slog.Logger, report *config.Report) {
	for i := range report.Problems {
		level := slog.LevelError
		if report.Problems[i].Warning {
			level = slog.LevelWarn
		}
		if i == mostLogged {
			log.Log(ctx, level, "more problems in the configuration", "count", report.Errors()+report.Warnings()-i)
			return
		}
		log.Log(ctx, level, "configuration: "+report.Problems[i].String())
	}
}
