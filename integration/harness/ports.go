package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// Ports are chosen below the range from which Linux takes the ports of outgoing
// connections (32768 and up): a port found free there could be some client's a
// moment later.
const (
	lowestPort  = 15000
	highestPort = 30000
)

// Ports hands out TCP ports of the loopback that nobody listens on, each once.
// The zero value is ready; it may be used from several goroutines.
type Ports struct {
	mu    sync.Mutex
	taken map[int]bool
}

// Free finds a free port.
func (p *Ports) Free() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort) //nolint:gosec // not a secret
		if p.taken[port] || CheckPort(port) != nil {
			continue
		}
		if p.taken == nil {
			p.taken = map[int]bool{}
		}
		p.taken[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port between %d and %d in 1000 tries", lowestPort, highestPort)
}

// PortTakenError says that somebody else listens on a port.
type PortTakenError struct{ Port int }

// Error names the port.
func (e *PortTakenError) Error() string { return fmt.Sprintf("port %d is taken", e.Port) }

// CheckPort reports whether the loopback's port can be listened on: nil,
// *PortTakenError, or what else stands in the way.
func CheckPort(port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return &PortTakenError{Port: port}
	}
	if err != nil {
		return fmt.Errorf("trying port %d: %w", port, err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("giving port %d back: %w", port, err)
	}
	return nil
}
