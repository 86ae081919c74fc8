package descriptors

import (
	"net/netip"
	"strconv"
	"strings"
)

// clientIP is where the client's address is taken from. The zero value is the
// connection's peer.
type clientIP struct {
	external bool // x-envoy-external-address
	hop      int  // of x-forwarded-for, from the right, 1 the last; 0: not from there
}

const (
	externalAddress = "x-envoy-external-address"
	maxHops         = 100
)

// parseClientIP reads the configured client_ip.
func parseClientIP(text Text, into *faults) clientIP {
	switch text.Value {
	case "", "peer":
		return clientIP{}
	case externalAddress:
		return clientIP{external: true}
	}
	if hops, ok := strings.CutPrefix(text.Value, "xff:"); ok {
		n, err := strconv.Atoi(hops)
		if err == nil && n >= 1 && n <= maxHops {
			return clientIP{hop: n}
		}
		into.fail(faultAt(text, len("xff:"), len(hops), "client_ip: the hop of x-forwarded-for is not a number from 1 to 100", "xff:1 is the last address, which the nearest proxy added"))
		return clientIP{}
	}
	into.fail(whole(text, "client_ip is not peer, "+externalAddress+" or xff:N", didYouMean(text.Value, []string{"peer", externalAddress, "xff:1"})))
	return clientIP{}
}

// of is the address of a request's client in its shortest form, so that one
// client has one spelling: where the configured place has none, the peer's.
func (c clientIP) of(req *Request) string {
	var text string
	switch {
	case c.external:
		text = req.Headers[externalAddress]
	case c.hop > 0:
		text = hopOf(req.Headers["x-forwarded-for"], c.hop)
	}
	if ip, ok := canonicalIP(text); ok {
		return ip
	}
	if ip, ok := canonicalIP(req.Source.Address); ok {
		return ip
	}
	return req.Source.Address
}

// hopOf is the nth address of a list from the right; empty when it is shorter.
func hopOf(list string, n int) string {
	for ; n > 1; n-- {
		i := strings.LastIndexByte(list, ',')
		if i < 0 {
			return ""
		}
		list = list[:i]
	}
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}

// canonicalIP is an address, with or without a port, in its shortest form.
func canonicalIP(s string) (string, bool) {
	if s == "" || len(s) > 64 { // longer than any address
		return "", false
	}
	addr, ok := parseIP(s)
	if !ok {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			if addr, ok = parseIP(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); !ok {
				return "", false
			}
		} else {
			addr = withPort.Addr().Unmap().WithZone("")
		}
	}
	var short [64]byte
	if b := addr.AppendTo(short[:0]); string(b) != s {
		return string(b), true
	}
	return s, true
}

// parseIP reads an address without a zone; one that maps IPv4 into IPv6 is the
// IPv4 one.
func parseIP(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}
