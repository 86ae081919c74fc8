package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/extauthz/extauthz/integration/harness"
)

// The quickstart's files, by their path in the module.
const (
	envoyFile   = "envoy-examples/quickstart/envoy.yaml"
	serviceFile = "envoy-examples/quickstart/extauthz.yaml"
)

// The ports of those files.
const (
	portGRPC       = 8081
	portMetrics    = 9090
	portAdmin      = 6070
	portRateLimit  = 10000
	portExtAuthz   = 10001
	portBackend    = 10002
	portEnvoyAdmin = 9901
)

// uses says what each port is for, and which file says so.
var uses = map[int]string{
	portGRPC:       "the service's gRPC port, listen.grpc of " + serviceFile,
	portMetrics:    "the service's metrics, listen.metrics of " + serviceFile,
	portAdmin:      "the service's admin port, listen.admin of " + serviceFile,
	portRateLimit:  "Envoy's listener with the rate limit filter, " + envoyFile,
	portExtAuthz:   "Envoy's listener with ext_authz, " + envoyFile,
	portBackend:    "the backend that Envoy plays, " + envoyFile,
	portEnvoyAdmin: "Envoy's admin page, " + envoyFile,
}

// portText finds what may be a port in the two files.
var portText = regexp.MustCompile(`\b\d{4,5}\b`)

// quickstart is the example as the demo runs it: the files themselves, or copies
// with every port shifted.
type quickstart struct {
	envoy, service string // paths of the files
	shift          int
	dir            string // of the copies; empty for the files themselves
}

// loadQuickstart finds the example's files; with a shift it copies them.
func loadQuickstart(shift int) (*quickstart, error) {
	if _, err := os.Stat(serviceFile); err != nil {
		return nil, fmt.Errorf("%w: run the demo in the module's folder, with `make demo`", err)
	}
	if shift == 0 {
		return &quickstart{envoy: envoyFile, service: serviceFile}, nil
	}
	dir, err := os.MkdirTemp("", "extauthz-demo-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the shifted files: %w", err)
	}
	q := &quickstart{shift: shift, dir: dir}
	q.envoy, err = q.copyShifted(envoyFile)
	if err == nil {
		q.service, err = q.copyShifted(serviceFile)
	}
	if err != nil {
		q.remove()
		return nil, err
	}
	return q, nil
}

// copyShifted copies a file with each of the known ports moved.
func (q *quickstart) copyShifted(file string) (string, error) {
	text, err := os.ReadFile(file) //nolint:gosec // one of the two constants above
	if err != nil {
		return "", fmt.Errorf("reading the example: %w", err)
	}
	text = portText.ReplaceAllFunc(text, func(number []byte) []byte {
		n, err := strconv.Atoi(string(number))
		if _, known := uses[n]; err != nil || !known {
			return number
		}
		return strconv.AppendInt(nil, int64(q.port(n)), 10)
	})
	path := filepath.Join(q.dir, filepath.Base(file))
	if err := os.WriteFile(path, text, 0o600); err != nil { //nolint:gosec // in the folder made above
		return "", fmt.Errorf("writing the shifted example: %w", err)
	}
	return path, nil
}

// port is where a port of the files is in this run.
func (q *quickstart) port(n int) int { return n + q.shift }

// checkPorts names every port that somebody else listens on.
func (q *quickstart) checkPorts() error {
	var all []error
	for _, n := range slices.Sorted(maps.Keys(uses)) {
		err := harness.CheckPort(q.port(n))
		var taken *harness.PortTakenError
		switch {
		case errors.As(err, &taken):
			all = append(all, fmt.Errorf("port %d is taken (%s)", q.port(n), uses[n]))
		case err != nil:
			all = append(all, err)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%w\nstop what listens there, or move every port of the demo: make demo ARGS='--shift 1000'", errors.Join(all...))
}

// remove removes the copies.
func (q *quickstart) remove() {
	if q.dir != "" {
		// A folder left behind in the system's own is no failure of the demo.
		_ = os.RemoveAll(q.dir)
	}
}
