package descriptors

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/traits"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Connections last for many requests, each of which has the certificate with it.
const (
	// mostCertificate is how long a certificate is, as Envoy sends it, of which
	// names are read. Those of workloads take 1 to 3 KB.
	mostCertificate = 32 << 10
	// mostCertificates is of how many certificates the names are remembered: 50 MB
	// in all where each is as long, and has as many names, as it can.
	mostCertificates = 512
)

// sans are the subject alternative names of certificates. It is safe for
// concurrent use.
type sans struct {
	// known are by the certificate as Envoy sends it. By a hash they would need one
	// that two can't share, which takes longer than to compare them.
	known *lru.Cache[string, nameList]
}

func newSANs() *sans {
	known, _ := lru.New[string, nameList](mostCertificates) // fails for sizes below 1 alone
	return &sans{known}
}

// nameList are names as expressions see them.
type nameList struct {
	traits.Lister
	tooMany bool // there are more than an expression may go over
}

// nameListOf are names, but for those that are empty, which are none.
func nameListOf(names []string) nameList {
	seen := make([]string, 0, len(names))
	for _, name := range names {
		if name != "" {
			seen = append(seen, capped(name))
		}
	}
	tooMany := len(seen) > mostValues
	if tooMany {
		seen = nil
	}
	return nameList{types.NewStringList(types.DefaultTypeAdapter, seen), tooMany}
}

// of are the names of a peer.
func (s *sans) of(p *Peer) nameList {
	switch {
	case p.SANs != nil:
		return nameListOf(p.SANs)
	case p.Certificate == "" || len(p.Certificate) > mostCertificate:
		return nameListOf(nil)
	}
	if list, ok := s.known.Get(p.Certificate); ok {
		return list
	}
	list := nameListOf(namesIn(p.Certificate))
	s.known.Add(strings.Clone(p.Certificate), list) // lest all of the call is kept
	return list
}

// The kinds of subject alternative names, by their tags.
const (
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
)

// namesIn are the subject alternative names of a certificate, which is PEM as in
// a URL: URIs, then DNS names, email addresses and IP addresses, each as they
// are in the certificate. Nil where it can't be read.
func namesIn(certificate string) []string {
	text, err := url.PathUnescape(certificate)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	var byTag [tagIP + 1][]string
	for _, e := range parsed.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			eachName(e.Value, func(tag int, value []byte) {
				if tag < len(byTag) {
					byTag[tag] = append(byTag[tag], nameOf(tag, value))
				}
			})
		}
	}
	return slices.Concat(byTag[tagURI], byTag[tagDNS], byTag[tagEmail], byTag[tagIP])
}

// eachName calls f for each name of the extension. crypto/x509 has parsed them,
// and writes URIs anew, so that one isn't what the certificate, and Envoy, says.
func eachName(extension []byte, f func(tag int, value []byte)) {
	var all asn1.RawValue
	if _, err := asn1.Unmarshal(extension, &all); err != nil {
		return
	}
	for rest := all.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &name); err != nil {
			return
		}
		if name.Class == asn1.ClassContextSpecific {
			f(name.Tag, name.Bytes)
		}
	}
}

// nameOf is a name as text; that of an address is its shortest form.
func nameOf(tag int, value []byte) string {
	if tag != tagIP {
		return string(value)
	}
	address, ok := netip.AddrFromSlice(value)
	if !ok {
		return ""
	}
	return address.Unmap().String()
}
