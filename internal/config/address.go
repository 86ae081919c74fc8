package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxSocketPath is the longest path of a Unix socket, in bytes.
const maxSocketPath = 107

// checkAddress complains of what can't be listened on: it is host:port,
// [::1]:port, unix:/path or empty.
func checkAddress(v string) (complaint, hint string) {
	if v == "" {
		return "", ""
	}
	if path, ok := strings.CutPrefix(v, "unix:"); ok {
		switch {
		case !strings.HasPrefix(path, "/"):
			return fmt.Sprintf("the address %q has no absolute path", v), "as in unix:/run/extauthz.sock"
		case len(path) > maxSocketPath:
			return fmt.Sprintf("the path of the address is longer than %d bytes", maxSocketPath), ""
		}
		return "", ""
	}
	if ip, err := netip.ParseAddr(v); err == nil {
		return fmt.Sprintf("the address %q has no port", v), "as in " + net.JoinHostPort(ip.String(), "8081")
	}
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		if _, numErr := strconv.ParseUint(v, 10, 16); numErr == nil {
			return fmt.Sprintf("the address %q has no host", v), fmt.Sprintf("did you mean %q?", ":"+v)
		}
		return fmt.Sprintf("the address %q is not host:port, [::1]:port or unix:/path", v), ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Sprintf("the port %q is not a number from 0 to 65535", port), ""
	}
	if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Sprintf("%q is no IPv6 address", host), ""
		}
	} else if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/@[]?#", r) }) {
		return fmt.Sprintf("%q is no host", host), ""
	}
	return "", ""
}

// isPrivate reports whether only this machine can reach an address.
func isPrivate(v string) bool {
	if v == "" || strings.HasPrefix(v, "unix:") {
		return true
	}
	if complaint, _ := checkAddress(v); complaint != "" {
		return true // that is enough
	}
	host, _, _ := net.SplitHostPort(v)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
