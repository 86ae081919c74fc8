package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNoProxy says that nginx or Caddy isn't there.
var ErrNoProxy = errors.New("no such proxy: run `make tools`, or install it")

// unpacked are the paths of proxies in what tools/fetch-proxies has unpacked.
var unpacked = map[string]string{"nginx": "usr/sbin/nginx", "caddy": "usr/bin/caddy"}

// FindProxy gives the path of nginx or caddy: on the path, else in the tools
// folder, or ErrNoProxy.
func FindProxy(root, name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path, err := filepath.Abs(filepath.Join(toolsFolder(root), "proxies", unpacked[name]))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s: %w (%w)", name, ErrNoProxy, err)
	}
	return path, nil
}
