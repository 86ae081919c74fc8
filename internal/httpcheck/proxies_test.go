package httpcheck

import (
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"pgregory.net/rapid"
)

func peerAt(address string) *authv3.AttributeContext_Peer {
	return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{Address: address},
	}}}
}

var someProxies = proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.0.2.7/32")}

func TestClient(t *testing.T) {
	socket := caller{trusted: true}
	from := func(s string) caller {
		address := netip.MustParseAddr(s)
		return caller{address, someProxies.trust(address)}
	}
	for name, tc := range map[string]struct {
		from      caller
		forwarded []string
		want      string
	}{
		"a stranger's word":      {from("203.0.113.9"), []string{"198.51.100.1"}, "203.0.113.9"},
		"nobody forwarded":       {from("10.0.0.1"), nil, "10.0.0.1"},
		"one hop":                {from("10.0.0.1"), []string{"198.51.100.1"}, "198.51.100.1"},
		"what the client says":   {from("10.0.0.1"), []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1"},
		"in lines":               {from("10.0.0.1"), []string{"1.1.1.1", "198.51.100.1"}, "198.51.100.1"},
		"two hops":               {from("10.0.0.1"), []string{"1.1.1.1,198.51.100.1\t, 192.0.2.7"}, "198.51.100.1"},
		"trusted ones alone":     {from("10.0.0.1"), []string{"10.9.9.9, 10.0.0.2"}, "10.9.9.9"},
		"not an address":         {from("10.0.0.1"), []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		"empty":                  {from("10.0.0.1"), []string{""}, "10.0.0.1"},
		"an empty one":           {from("10.0.0.1"), []string{"198.51.100.1, "}, "10.0.0.1"},
		"ports and IPv6":         {from("fd00::1"), []string{"[2001:db8::1]:443, [fd00::2], 10.0.0.3:80, ::ffff:10.0.0.4"}, "2001:db8::1"},
		"mapped":                 {from("10.0.0.1"), []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"a zone":                 {from("10.0.0.1"), []string{"fe80::1%eth0"}, "fe80::1"},
		"a socket":               {socket, []string{"198.51.100.1"}, "198.51.100.1"},
		"a socket, no word":      {socket, nil, ""},
		"a socket, another word": {socket, []string{"unix:"}, ""},
	} {
		if got := someProxies.client(tc.from, tc.forwarded); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// TestClientsDontChooseTheirAddress: whatever the client has put into the header
// before the proxies added to it, it is known by the address that it came from.
func TestClientsDontChooseTheirAddress(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		own := rapid.StringMatching(`([0-9a-f.:,%\[\] ]|10\.0\.0\.1|unknown){0,40}`).Draw(rt, "sent by the client")
		hops := rapid.SliceOfN(rapid.SampledFrom([]string{"10.0.0.1", "fd00::1", "192.0.2.7", "10.255.255.255"}), 1, 4).Draw(rt, "hops")
		list := strings.Join(append([]string{own, "203.0.113.9"}, hops[1:]...), ", ")
		peer := netip.MustParseAddr(hops[0])
		if got := someProxies.client(caller{peer, someProxies.trust(peer)}, []string{list}); got != "203.0.113.9" {
			rt.Errorf("%q from %s: %q", list, peer, got)
		}
	})
}
