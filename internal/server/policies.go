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
)

// policies has the policy in force, and replaces it when the configuration has
// changed: whole, or not at all.
type policies struct {
	load    func() (*config.Config, *config.Report) // nil: it can't be loaded again
	started *config.Config                          // what the process runs with
	core    *core
	log     *slog.Logger
	now     func() time.Time

	current atomic.Pointer[decision.Policy]

	mu        sync.Mutex // one reload at a time
	info      admin.ConfigInfo
	namespace string // of the configuration in force
}

func newPolicies(o *Options, k *core) *policies {
	p := &policies{
		load: o.Reload, started: o.Config, core: k, log: o.Log, now: time.Now,
		info: admin.ConfigInfo{Path: o.Config.Path},
	}
	p.use(o.Config)
	k.metrics.Loaded(o.Config.ID(), p.info.Loaded)
	return p
}

// watchedBy are the files that a configuration is of, as it found them.
func watchedBy(c *config.Config) []*watchedFile {
	var files []*watchedFile
	if c.Path != "" {
		files = append(files, &watchedFile{path: c.Path, sum: sumFile, seen: c.Sum})
	}
	if c.Ratelimit.Folder != "" {
		files = append(files, &watchedFile{path: c.Ratelimit.Folder, sum: config.SumFolder, seen: c.Ratelimit.Sum})
	}
	return files
}

// inForce is the policy to decide by.
func (p *policies) inForce() *decision.Policy { return p.current.Load() }

// use puts a configuration in force. The caller holds mu, or is alone.
func (p *policies) use(c *config.Config) {
	limits := p.core.limits.Resolver(c.Namespace, c.Limits) // what is known of the store's stays known
	policy := policyOf(c, limits, p.started.Store.Type == config.StoreEmbedded)
	p.core.observer.Use(policy)
	p.current.Store(policy)
	p.namespace = c.Namespace
	p.info.Config, p.info.Loaded, p.info.Refused = c.ID(), p.now().UTC(), ""
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
	err := report.Err()
	if err == nil {
		err = p.register(ctx, c.Namespace)
	}
	if err != nil {
		p.info.Refused = err.Error()
		p.core.metrics.ReloadFailed()
		p.log.Error("the changed configuration is refused, the one before stays in force",
			"in_force", p.info.Config, "errors", report.Errors())
		return
	}
	was := p.info.Config
	p.use(c)
	// The last thing to happen: whoever sees the count finds the policy in force.
	p.core.metrics.Reloaded(c.ID(), p.info.Loaded)
	p.log.Info("the changed configuration is in force", "config", c.ID(), "before", was, "rules", len(c.Rules.All()))
	if len(p.info.Restart) > 0 {
		p.log.Warn("a restart is needed for what has changed beside rules and limits", "keys", strings.Join(p.info.Restart, ", "))
	}
}

// register sees to it that another namespace than the one in force can be used.
func (p *policies) register(ctx context.Context, namespace string) error {
	if namespace == p.namespace {
		return nil
	}
	s, err := p.core.store.configuration()
	if err == nil {
		err = register(ctx, s, namespace)
	}
	if err != nil {
		p.log.Error("the namespace of the changed configuration can't be used", "namespace", namespace, "err", err)
	}
	return err
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
