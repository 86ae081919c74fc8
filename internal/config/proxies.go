package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// The keys of the port for HTTP.
const (
	keyHTTP    = "listen.http"
	keyProxies = "listen.trusted_proxies"
)

func httpSettings() []setting {
	return []setting{
		{
			key: keyHTTP, flag: "http", usage: "`address` for checks over HTTP; empty is off",
			set: func(c *checked, v string) (string, string) {
				c.Listen.HTTP = v
				return checkAddress(v)
			},
		},
		{
			key: keyProxies,
			set: func(c *checked, v string) (complaint, hint string) {
				items, complaint, hint := split(v, checkProxy)
				if complaint != "" {
					return complaint, hint
				}
				for _, item := range items {
					network, _ := parseProxy(item)
					c.TrustedProxies = append(c.TrustedProxies, network)
				}
				return "", ""
			},
		},
	}
}

// parseProxy reads a network, or the address of one machine.
func parseProxy(v string) (netip.Prefix, error) {
	if !strings.Contains(v, "/") {
		ip, err := netip.ParseAddr(v)
		if err != nil || ip.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no address", v)
		}
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(v)
}

// checkProxy complains of what is no network. It may be there twice.
func checkProxy(_ []string, v string) (complaint, hint string) {
	network, err := parseProxy(v)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not a network", v), "as in 10.0.0.0/8, fd00::/8 or 192.0.2.7"
	case network.Addr().Is4In6():
		return fmt.Sprintf("%q is a network of IPv4 in the form of IPv6", v), "as in 10.0.0.0/8"
	case network.Masked() != network:
		return fmt.Sprintf("the network %q has bits beyond its length", v), fmt.Sprintf("did you mean %s?", network.Masked())
	}
	return "", ""
}

// checkHTTP warns of a port whose callers nobody trusts. Who may reach a socket
// is for its folder's permissions to say; and /json, which is all there is beside
// envoyproxy/ratelimit's configuration, believes what it is told.
func (l *layers) checkHTTP(c *checked, settings map[string]*setting) {
	if http := c.Listen.HTTP; http != "" && c.Ratelimit.Folder == "" && l.viper.GetString(keyProxies) == "" && !strings.HasPrefix(http, "unix:") {
		l.problem(settings[keyHTTP], true, "without "+keyProxies+" no proxy is believed when it says for whom it asks",
			"say which networks proxies are in: until then /forward_auth refuses all of them, and to other checks the proxy is the client")
	}
}
