package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// examplePort finds a port in an example's files: Envoy's spelling, and the
// service's, whose ":8081" is moved to the loopback too.
var examplePort = regexp.MustCompile(`(port_value: |127\.0\.0\.1:| ":)(\d+)`)

// exampleTimeout finds what an example's Envoy waits for: the service's decisions,
// and its health. A machine that is busy with tests isn't a service that has gone.
var exampleTimeout = regexp.MustCompile(`\btimeout: (0\.25|1)s`)

// Example is a copy of one of the examples, with each port of its files moved to
// a free one, so that several run at once, and Envoy's patience stretched.
type Example struct {
	Envoy, Service string // paths of the copied files
	ports          map[int]int
}

// CopyExample copies an example's files, Envoy's (or another proxy's) and the
// service's, into the folder to.
func CopyExample(envoy, service, to string, free *Ports) (*Example, error) {
	e := &Example{ports: map[int]int{}, Envoy: filepath.Join(to, filepath.Base(envoy)), Service: filepath.Join(to, "extauthz.yaml")}
	for from, path := range map[string]string{envoy: e.Envoy, service: e.Service} {
		text, err := os.ReadFile(from) //nolint:gosec // the module's own file
		if err != nil {
			return nil, fmt.Errorf("reading the example: %w", err)
		}
		if text, err = e.movePorts(text, free); err != nil {
			return nil, err
		}
		text = exampleTimeout.ReplaceAll(text, []byte("timeout: 10s"))
		if err := os.WriteFile(path, text, 0o600); err != nil { //nolint:gosec // in the caller's folder
			return nil, fmt.Errorf("copying the example: %w", err)
		}
	}
	return e, nil
}

// movePorts replaces each port, one that was met before by the same.
func (e *Example) movePorts(text []byte, free *Ports) ([]byte, error) {
	var failed error
	moved := examplePort.ReplaceAllFunc(text, func(found []byte) []byte {
		part := examplePort.FindSubmatch(found)
		n, err := strconv.Atoi(string(part[2]))
		if err != nil {
			failed = err
			return found
		}
		if _, met := e.ports[n]; !met {
			port, err := free.Free()
			if err != nil {
				failed = err
				return found
			}
			e.ports[n] = port
		}
		before := part[1]
		if string(before) == ` ":` {
			before = []byte(` "127.0.0.1:`)
		}
		return strconv.AppendInt(before, int64(e.ports[n]), 10)
	})
	if failed != nil {
		return nil, fmt.Errorf("moving the example's ports: %w", failed)
	}
	return moved, nil
}

// Port is where a port of the example's files is in the copy, 0 where the files
// don't have it.
func (e *Example) Port(n int) int { return e.ports[n] }
