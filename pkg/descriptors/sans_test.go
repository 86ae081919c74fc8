package descriptors

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cel.dev/cel-go/common/types"
	"github.com/google/go-cmp/cmp"
)

// certificate is one of names, as Envoy sends it.
func certificate(t testing.TB, of *x509.Certificate) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of.SerialNumber, of.NotAfter = big.NewInt(1), time.Unix(1<<33, 0)
	der, err := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return asEnvoySends(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// asEnvoySends is PEM as Envoy sends it.
func asEnvoySends(pem []byte) string {
	return strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(string(pem))
}

// anyNames has names of every kind.
func anyNames() *x509.Certificate {
	return &x509.Certificate{
		DNSNames: []string{"b.example", "a.example"}, EmailAddresses: []string{"me@example.com"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "a", Path: "/ns/b"}, {Scheme: "SPIFFE", Host: "A", RawQuery: "b c"}},
	}
}

var allNames = []string{"spiffe://a/ns/b", "SPIFFE://A?b c", "b.example", "a.example", "me@example.com", "192.0.2.1", "2001:db8::1"}

// sansOf are the names of a certificate as rules see them.
func sansOf(s *sans, p *Peer) []string {
	list := s.of(p)
	var all []string
	for i := list.Iterator(); i.HasNext() == types.True; {
		all = append(all, i.Next().Value().(string))
	}
	return all
}

// TestSANs reads the names of certificates, and none of what isn't one.
func TestSANs(t *testing.T) {
	all := certificate(t, anyNames())
	plain, err := url.PathUnescape(all)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		peer Peer
		want []string
	}{
		"all":              {Peer{Certificate: all}, allNames},
		"as it is":         {Peer{Certificate: plain}, allNames},
		"a chain":          {Peer{Certificate: all + certificate(t, &x509.Certificate{DNSNames: []string{"root"}})}, allNames},
		"no names":         {Peer{Certificate: certificate(t, &x509.Certificate{})}, nil},
		"none":             {Peer{}, nil},
		"known otherwise":  {Peer{Certificate: all, SANs: []string{"x", "", "y"}}, []string{"x", "y"}},
		"known to be none": {Peer{Certificate: all, SANs: []string{}}, nil},
		"cut off":          {Peer{Certificate: all[:len(all)/2]}, nil},
		"no certificate":   {Peer{Certificate: strings.ReplaceAll(all, "CERTIFICATE", "PRIVATE%20KEY")}, nil},
		"no base64":        {Peer{Certificate: strings.Replace(all, "MII", "M!I", 1)}, nil},
		"no DER":           {Peer{Certificate: strings.Replace(all, "MII", "NII", 1)}, nil},
		"no URL":           {Peer{Certificate: all + "%zz"}, nil},
		"bytes":            {Peer{Certificate: "\xff\x00%ff"}, nil},
		"as long as may be": {
			Peer{Certificate: all + strings.Repeat("x", mostCertificate-len(all))}, allNames,
		},
		"too long": {Peer{Certificate: all + strings.Repeat("x", mostCertificate-len(all)+1)}, nil},
	} {
		s := newSANs()
		for range 2 { // the second time by what is remembered
			if diff := cmp.Diff(c.want, sansOf(s, &c.peer)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// TestNamesAreAsInTheCertificate: what crypto/x509 would write anew isn't.
func TestNamesAreAsInTheCertificate(t *testing.T) {
	var got []string
	eachName([]byte{
		0x30, 13, 0x86, 3, 'A', ':', 'b', 0xa0, 2, 5, 0, 0x82, 0, 0x05, 0,
	}, func(tag int, value []byte) { got = append(got, fmt.Sprintf("%d %q", tag, value)) })
	if want := []string{`6 "A:b"`, `0 "\x05\x00"`, `2 ""`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRulesReadSANs has rules that do, and when they read a certificate at all.
func TestRulesReadSANs(t *testing.T) {
	rules := compile(t,
		rule("first", "match", `request.path == "/first"`, "entity", "${source.sans[0]}"),
		rule("none", "match", `source.principal == "none"`, "entity", "nobody"),
		rule("uri", "match", `source.sans.exists(s, s.startsWith("spiffe://a/"))`, "entity", `${source.sans.filter(s, s.startsWith("spiffe://"))[0]}`),
		rule("named", "match", `"a.example" in source.sans`, "entity", "${source.sans.join('+')}"),
		rule("any", "match", `has(source.sans)`, "entity", "${string(source.sans.size())}-${sha256(source.sans[?0].orValue('x'))}"),
		rule("else", "entity", "${source.address}", "on_allow.x", "${source.sans.join(',')}"))
	names := func(of ...string) string { return certificate(t, &x509.Certificate{DNSNames: of}) }
	many := make([]string, mostValues+1)
	for i := range many {
		many[i] = "a"
	}
	for _, c := range []struct {
		path, principal, certificate string
		want                         string
	}{
		{"/", "none", names("a.example"), "charge by none: nobody none each=1"},
		{"/", "", "", "charge by else: 192.0.2.1 else each=1"},
		{"/", "", "nonsense", "charge by else: 192.0.2.1 else each=1"},
		{"/first", "", "", "charge by else: 192.0.2.1 else each=1"},
		{"/first", "", names("b", "a.example"), "charge by first: b first each=1"},
		{"/", "", certificate(t, anyNames()), "charge by uri: spiffe://a/ns/b uri each=1"},
		{"/", "", names("x", "a.example"), "charge by named: x+a.example named each=1"},
		{"/", "", names("x"), "charge by any: 1-" + shortHash("x") + " any each=1"},
		{"/first", "", names(many...), "invalid by first"},
		{"/", "", names(many...), "invalid by uri"},
		{"/first", "", names(many[1:]...), "charge by first: a first each=1"},
	} {
		r := check("GET", c.path)
		r.Source.Principal, r.Source.Certificate = c.principal, c.certificate
		if got := summary(rules.Evaluate(r)); got != c.want {
			t.Errorf("%s %q, a certificate of %d bytes: %s, want %s", c.path, c.principal, len(c.certificate), got, c.want)
		}
		if out, _ := rules.Trace(r); out.Err != nil && strings.Contains(out.Err.Error(), "CERTIFICATE") {
			t.Errorf("the certificate is told of: %v", out.Err)
		}
	}
}

// TestCertificatesAreReadOnce, where a rule asks for their names, and so many are
// remembered.
func TestCertificatesAreReadOnce(t *testing.T) {
	s := newSANs()
	ev := newEvaluation(clientIP{}, s)
	r := check("GET", "/")
	r.Source.Certificate = certificate(t, anyNames())
	reads := conditionFor(t, `"a.example" in source.sans`, true)
	others := conditionFor(t, `source.address.startsWith("192.") || "a.example" in source.sans`, true)
	ev.begin(r, nil)
	if holds, err := others.holds(ev); !holds || err != nil || s.known.Len() != 0 {
		t.Errorf("%t, %v: a certificate is read that nobody asks for", holds, err)
	}
	first := testing.AllocsPerRun(1, func() { newSANs().of(&r.Source) })
	again := testing.AllocsPerRun(100, func() {
		ev.begin(r, nil)
		if holds, err := reads.holds(ev); !holds || err != nil {
			t.Fatal(holds, err)
		}
	})
	if again > 10 || first < 30 {
		t.Errorf("%v allocations for a certificate that is known, %v for a new one", again, first)
	}
	if n := testing.AllocsPerRun(100, func() { s.of(&r.Source) }); n != 0 {
		t.Errorf("%v allocations to find its names", n)
	}
	for i := range 2 * mostCertificates {
		s.of(&Peer{Certificate: fmt.Sprint(i)})
	}
	if n := s.known.Len(); n != mostCertificates {
		t.Errorf("%d are remembered", n)
	}
}

// TestSANsAtOnce evaluates many certificates by the same rules at the same time.
func TestSANsAtOnce(t *testing.T) {
	rules := compile(t, rule("r", "match", `source.sans.size() == 1`, "entity", "${source.sans[0]}"))
	var certificates []string
	for i := range 4 {
		certificates = append(certificates, certificate(t, &x509.Certificate{DNSNames: []string{fmt.Sprint("n", i)}}))
	}
	var all sync.WaitGroup
	for caller := range 8 {
		all.Go(func() {
			for i := range 200 {
				n := (caller + i) % len(certificates)
				r := check("GET", "/")
				r.Source.Certificate = certificates[n]
				if got, want := summary(rules.Evaluate(r)), fmt.Sprintf("charge by r: n%d r each=1", n); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		})
	}
	all.Wait()
}

// FuzzSANs reads certificates of any bytes: there are names or none.
func FuzzSANs(f *testing.F) {
	all := certificate(f, anyNames())
	f.Add(all)
	f.Add(all[:len(all)-40])
	f.Add(strings.Replace(all, "A", "B", 1))
	f.Add("-----BEGIN%20CERTIFICATE-----%0AMAA%3D%0A-----END%20CERTIFICATE-----%0A")
	f.Add("%")
	rules := compile(f, rule("r", "match", `source.sans.exists(s, s.contains("a"))`, "entity", "${source.sans[0]}"))
	f.Fuzz(func(t *testing.T, text string) {
		size := 0
		for _, name := range namesIn(text) {
			size += len(name)
		}
		if most := 16 * len(text); size > most { // an address of 16 bytes has up to 39 characters
			t.Fatalf("names of %d bytes in a certificate of %d", size, len(text))
		}
		for _, whole := range []string{text, asEnvoySends(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(text)}))} {
			r := check("GET", "/")
			r.Source.Certificate = whole
			rules.Evaluate(r)
		}
		eachName([]byte(text), func(int, []byte) {})
	})
}
