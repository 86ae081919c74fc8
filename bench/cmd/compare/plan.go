package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/extauthz/extauthz/bench/internal/load"
)

// server is who is asked.
type server uint8

const (
	noop    server = iota // decides nothing
	service               // extauthz.yaml
	plain                 // plain.yaml
	full                  // full.yaml
)

var serverNames = [...]string{"no-op", "extauthz", "plain", "ten rules and all headers"}

// scenario is what one run does.
type scenario struct {
	server   server
	protocol load.Protocol
	reject   bool
	tenants  int
	inFlight int
}

// The numbers of tenants, each with a bucket.
const (
	one  = 1
	many = 10_000
)

// floor is the scenario that one is compared with: what has everything switched
// on with what has nothing, others with what decides nothing, which doesn't mind
// how many tenants there are. It answers what the plain path does, byte for byte.
func (s scenario) floor() scenario {
	if s.server == full {
		s.server = plain
		return s
	}
	s.server, s.tenants = noop, many
	return s
}

// compared reports whether the scenario is one that is compared with another.
func (s scenario) compared() bool { return s != s.floor() }

// name is a scenario's, without the number in flight.
func (s scenario) name() string {
	tenants := "1 key"
	if s.tenants != one {
		tenants = fmt.Sprintf("%d keys", s.tenants)
	}
	return strings.Join([]string{s.protocol.String(), s.answer(), tenants, serverNames[s.server]}, ", ")
}

func (s scenario) answer() string {
	if s.reject {
		return "rejected"
	}
	return "allowed"
}

// limit is the limit that gives the answer, see extauthz.yaml.
func (s scenario) limit() string {
	if s.reject {
		return load.Tight
	}
	return load.Open
}

// plan is the order of one round: each run as near as can be to the one that it
// is compared with.
func plan(levels []int, only string) []scenario {
	var all []scenario
	var add func(s scenario)
	add = func(s scenario) {
		if s.compared() {
			add(s.floor())
		}
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	for _, inFlight := range levels {
		for _, protocol := range []load.Protocol{load.RateLimit, load.ExtAuthz} {
			for _, reject := range []bool{false, true} {
				for _, s := range []scenario{{server: service, tenants: one}, {server: service, tenants: many}, {server: plain, tenants: one}, {server: full, tenants: one}} {
					s.protocol, s.reject, s.inFlight = protocol, reject, inFlight
					if strings.Contains(s.name(), only) {
						add(s)
					}
				}
			}
		}
	}
	return all
}

// order is that of a round: every second one goes backwards, so that what comes
// first is not always the same.
func order(scenarios []scenario, round int) []scenario {
	if round%2 == 0 {
		return scenarios
	}
	backwards := slices.Clone(scenarios)
	slices.Reverse(backwards)
	return backwards
}
