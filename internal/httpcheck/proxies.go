package httpcheck

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies are the networks of those that are believed.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(a) })
}

// caller is who has connected.
type caller struct {
	address netip.Addr // invalid: over a socket of the file system
	trusted bool
}

// caller is who has sent a request. Who may reach a socket is for its folder's
// permissions to say: they are trusted.
func (p proxies) caller(r *http.Request) caller {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return caller{trusted: true}
	}
	address, _ := parseAddress(r.RemoteAddr)
	return caller{address, p.trust(address)}
}

const forwardedFor = "X-Forwarded-For"

// client is the address of whom a request is made for: the last one of
// X-Forwarded-For that is no trusted proxy's. What a client has put there itself
// stands before it and is never reached. Where all are trusted, and where one
// can't be read, it is the last that was believed. It is empty when nobody says.
func (p proxies) client(c caller, forwarded []string) string {
	client := c.address
	if c.trusted {
		client = p.lastUntrusted(client, strings.Join(forwarded, ","))
	}
	if !client.IsValid() {
		return ""
	}
	return client.String()
}

func (p proxies) lastUntrusted(client netip.Addr, list string) netip.Addr {
	for list != "" {
		i := strings.LastIndexByte(list, ',')
		address, ok := parseAddress(strings.Trim(list[i+1:], " \t"))
		if !ok {
			return client
		}
		client, list = address, list[:max(i, 0)]
		if !p.trust(client) {
			return client
		}
	}
	return client
}

// parseAddress reads an address with or without a port; one that maps IPv4 into
// IPv6 is the IPv4 one.
func parseAddress(s string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), true
}
