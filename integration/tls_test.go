//go:build integration

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/integration/harness"
)

// writeCertificate puts a certificate of its own root into a folder, for the
// loopback's servers and clients.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: cert}, "ca.crt": {Type: "CERTIFICATE", Bytes: cert}, "tls.key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMutualTLS has Envoy and the service show each other a certificate; Envoy's
// health check does so too.
func TestMutualTLS(t *testing.T) {
	s := &service{endpoint: endpoint{Port: freePort(t)}, env: newStore(t), tls: t.TempDir(), file: filepath.Join(t.TempDir(), "extauthz.yaml")}
	writeCertificate(t, s.tls)
	s.listen = fmt.Sprintf("listen: {grpc: %q, metrics: \"\", admin: \"\"}\ntls: {cert: %[2]s/tls.crt, key: %[2]s/tls.key, client_ca: %[2]s/ca.crt}\n", local(s.Port), s.tls)
	s.write(t, fmt.Sprintf(byTenant, "2/day"))
	p, err := harness.Start(harness.Command{Name: "extauthz", Path: binary, Args: []string{"serve", "--config", s.file}, Env: s.env})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the service's log:\n%s", p.Tail(40))
		}
	})
	eventually(t, startTimeout, "the service serves", func() bool { return strings.Contains(p.Output(), "msg=serving") })

	w := around(t, s)
	for filter, addr := range w.filters() {
		got := w.burst(t, 6, addr, "/", "x-tenant", "acme")
		if diff := cmp.Diff(map[int]int{200: 2, 429: 4}, got); diff != "" {
			t.Errorf("%s over TLS (-want +got):\n%s", filter, diff)
		}
	}
	w.noFaults(t)
	stats, err := w.envoy.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stats["cluster.extauthz.ssl.handshake"] == 0 {
		t.Error("Envoy counts no TLS handshake with the service")
	}
}
