package descriptors

import (
	"fmt"
	"net/netip"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// parsePrefix reads a CIDR, or an address, which is a prefix of all its bits.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, ok := parseIP(s); ok {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no CIDR, as in 10.0.0.0/8 or 2001:db8::/32", shorten(s))
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

// within reports whether a text is an address in one of the prefixes; a text
// that is no address is in none.
func within(s string, prefixes []netip.Prefix) bool {
	addr, ok := parseIP(s)
	if !ok {
		return false
	}
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func isIP(s string) bool {
	_, ok := parseIP(s)
	return ok
}

// inCIDR is the function of rules, where the compiler hasn't made it native.
func inCIDR(ip, list ref.Val) ref.Val {
	s, ok := ip.(types.String)
	prefixes, isList := list.(traits.Lister)
	if !ok || !isList {
		return types.MaybeNoSuchOverloadErr(ip)
	}
	var parsed []netip.Prefix
	for it := prefixes.Iterator(); it.HasNext() == types.True; {
		text, ok := it.Next().(types.String)
		if !ok {
			return types.NewErr("inCIDR: the list holds something other than texts")
		}
		p, err := parsePrefix(string(text))
		if err != nil {
			return types.NewErr("inCIDR: %s", err.Error())
		}
		parsed = append(parsed, p)
	}
	return types.Bool(within(string(s), parsed))
}
