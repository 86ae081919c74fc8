package descriptors

import "testing"

func TestClientIP(t *testing.T) {
	for _, c := range []struct {
		source, external, forwarded, peer string
		want                              string
	}{
		{"", "203.0.113.9", "203.0.113.8", "192.0.2.1", "192.0.2.1"},
		{"peer", "203.0.113.9", "203.0.113.8", "192.0.2.1", "192.0.2.1"},
		{"peer", "", "", "2001:DB8::0:1", "2001:db8::1"},
		{"peer", "", "", "::ffff:192.0.2.1", "192.0.2.1"},
		{"peer", "", "", "fe80::1%eth0", "fe80::1"},
		{"peer", "", "", "/run/envoy.sock", "/run/envoy.sock"},
		{"x-envoy-external-address", "203.0.113.9", "", "192.0.2.1", "203.0.113.9"},
		{"x-envoy-external-address", "", "", "192.0.2.1", "192.0.2.1"},
		{"x-envoy-external-address", "unknown", "", "192.0.2.1", "192.0.2.1"},
		{"x-envoy-external-address", "203.0.113.9:443", "", "192.0.2.1", "203.0.113.9"},
		{"x-envoy-external-address", "[2001:db8::1]:443", "", "192.0.2.1", "2001:db8::1"},
		{"x-envoy-external-address", "[2001:db8::1]", "", "192.0.2.1", "2001:db8::1"},
		{"xff:1", "", "198.51.100.7, 203.0.113.9", "192.0.2.1", "203.0.113.9"},
		{"xff:2", "", "198.51.100.7, 203.0.113.9", "192.0.2.1", "198.51.100.7"},
		{"xff:3", "", "198.51.100.7, 203.0.113.9", "192.0.2.1", "192.0.2.1"},
		{"xff:2", "", "evil,198.51.100.7,203.0.113.9", "192.0.2.1", "198.51.100.7"},
		{"xff:1", "", "", "192.0.2.1", "192.0.2.1"},
		{"xff:1", "", ",", "192.0.2.1", "192.0.2.1"},
	} {
		var found faults
		source := parseClientIP(Text{Value: c.source}, &found)
		req := check("GET", "/", "x-envoy-external-address", c.external, "x-forwarded-for", c.forwarded)
		req.Source.Address = c.peer
		if got := source.of(req); got != c.want || len(found.errors) > 0 {
			t.Errorf("%+v: got %q, %v", c, got, found.errors)
		}
	}
	for text, want := range map[string]string{
		"xff":                      "client_ip is not peer, x-envoy-external-address or xff:N",
		"xff:x":                    "client_ip: the hop of x-forwarded-for is not a number from 1 to 100 (xff:1 is the last address, which the nearest proxy added)",
		"x-envoy-external-addr":    `client_ip is not peer, x-envoy-external-address or xff:N (did you mean "x-envoy-external-address"?)`,
		"X-Envoy-External-Address": `client_ip is not peer, x-envoy-external-address or xff:N (did you mean "x-envoy-external-address"?)`,
	} {
		var found faults
		parseClientIP(Text{Value: text}, &found)
		if len(found.errors) != 1 || found.errors[0].Error() != want {
			t.Errorf("%s: got %v, want %s", text, found.errors, want)
		}
	}
}

func TestCIDR(t *testing.T) {
	for _, c := range []struct {
		ip, prefix string
		want       bool
	}{
		{"10.1.2.3", "10.0.0.0/8", true},
		{"::ffff:10.1.2.3", "10.0.0.0/8", true},
		{"10.1.2.3", "::ffff:10.0.0.0/104", true},
		{"11.1.2.3", "10.0.0.0/8", false},
		{"10.1.2.3", "10.1.2.3", true},
		{"10.1.2.3", "10.9.9.9/8", true},
		{"2001:db8::1", "2001:db8::/32", true},
		{"2001:db9::1", "2001:db8::/32", false},
		{"10.1.2.3", "::/0", false},
		{"nonsense", "0.0.0.0/0", false},
		{"", "0.0.0.0/0", false},
	} {
		for _, native := range []bool{true, false} {
			m := conditionFor(t, `inCIDR(request.headers["x"] + "", ["`+c.prefix+`"])`, native)
			if native {
				m = conditionFor(t, `inCIDR(request.headers["x"], ["192.0.2.0/24", "`+c.prefix+`"])`, true)
			}
			ev := newEvaluation(clientIP{}, newSANs())
			ev.begin(check("GET", "/", "x", c.ip), nil)
			if got, err := m.holds(ev); got != c.want || err != nil && c.ip != "" {
				t.Errorf("%s in %s, native %t: %t, %v", c.ip, c.prefix, native, got, err)
			}
		}
	}
	m := conditionFor(t, `inCIDR("10.1.2.3", [request.headers["x"]])`, true)
	ev := newEvaluation(clientIP{}, newSANs())
	ev.begin(check("GET", "/", "x", "10.0.0.0/99"), nil)
	if _, err := m.holds(ev); kindOf(err) != "invalid" {
		t.Errorf("a CIDR of the request that is none: %v", err)
	}
}
