package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/extauthz/extauthz/bench/internal/load"
)

// scenario is what one run does.
type scenario struct {
	service  bool // else the server that decides nothing
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

// floor is the scenario that one of the service is compared with. What decides
// nothing doesn't mind how many tenants there are.
func (s scenario) floor() scenario {
	s.service, s.tenants = false, many
	return s
}

// name is a scenario's, without the number in flight.
func (s scenario) name() string {
	who := "no-op"
	if s.service {
		who = "extauthz"
	}
	tenants := "1 key"
	if s.tenants != one {
		tenants = fmt.Sprintf("%d keys", s.tenants)
	}
	return strings.Join([]string{s.protocol.String(), s.answer(), tenants, who}, ", ")
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

// plan is the order of one round: each run of the service as near as can be to
// the one that it is compared with.
func plan(levels []int, only string) []scenario {
	var all []scenario
	for _, inFlight := range levels {
		for _, protocol := range []load.Protocol{load.RateLimit, load.ExtAuthz} {
			for _, reject := range []bool{false, true} {
				s := scenario{service: true, protocol: protocol, reject: reject, inFlight: inFlight}
				group := []scenario{s.floor()}
				for _, s.tenants = range []int{one, many} {
					if strings.Contains(s.name(), only) {
						group = append(group, s)
					}
				}
				if len(group) > 1 || strings.Contains(group[0].name(), only) {
					all = append(all, group...)
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
