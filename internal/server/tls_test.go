package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/tlsfiles"
	"github.com/extauthz/extauthz/internal/tlsfiles/tlstest"
)

// secured is a configuration with the files tls.crt, tls.key and, for clients,
// ca.crt of a folder.
func secured(dir, listen string, mutual bool) string {
	roots := ""
	if mutual {
		roots = filepath.Join(dir, "ca.crt")
	}
	return fmt.Sprintf("%stls: {cert: %q, key: %q, client_ca: %q}\n", listen, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), roots) +
		strings.TrimPrefix(fmt.Sprintf(oneRule, "edge"), listenLine)
}

// writePair puts each file in the place of what is there.
func writePair(t *testing.T, dir string, p tlstest.Pair, roots []byte) {
	t.Helper()
	replace(t, filepath.Join(dir, "tls.crt"), string(p.Cert))
	replace(t, filepath.Join(dir, "tls.key"), string(p.Key))
	replace(t, filepath.Join(dir, "ca.crt"), string(roots))
}

// trusting is a client that trusts an authority, and shows certificates.
func trusting(ca *tlstest.Authority, certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool, Certificates: certificates}
}

// askTLS asks for a decision over a connection of its own.
func askTLS(t *testing.T, address string, client *tls.Config) error {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(client)))
	mustDo(t, err)
	defer func() { _ = conn.Close() }()
	code, err := ask(t.Context(), conn, "acme")
	if err == nil && code != codeOK {
		t.Errorf("code %d", code)
	}
	return err
}

// page is a page of the metrics port over TLS, and the name of the certificate
// that came with it. The client has none, like a probe.
func page(t *testing.T, r *running, ca *tlstest.Authority, path string) (name, body string, err error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: trusting(ca), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+r.Metrics+path, nil)
	mustDo(t, err)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", "", err
	}
	text, err := io.ReadAll(response.Body)
	mustDo(t, errors.Join(err, response.Body.Close()))
	return response.TLS.PeerCertificates[0].Subject.CommonName, string(text), nil
}

func TestTLSOnEveryPort(t *testing.T) {
	ca, strangers := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	ours, theirs := ca.Issue(t, "client").TLS(t), strangers.Issue(t, "client").TLS(t)
	for name, mutual := range map[string]bool{"of the server": false, "of both": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writePair(t, dir, ca.Issue(t, "server"), ca.PEM)
			r := runService(t, secured(dir, listenLine, mutual))

			mustDo(t, askTLS(t, r.GRPC, trusting(ca, ours)))
			for what, client := range map[string]*tls.Config{"no certificate": trusting(ca), "a stranger's": trusting(ca, theirs)} {
				err := askTLS(t, r.GRPC, client)
				if refused := status.Code(err) == codes.Unavailable; refused != mutual || err != nil && !refused {
					t.Errorf("a client with %s: %v", what, err)
				}
			}
			if _, err := ask(t.Context(), r.conn, "acme"); status.Code(err) != codes.Unavailable {
				t.Errorf("a client in plain text: %v", err)
			}
			if got, body, err := page(t, r, ca, "/readyz"); got != "server" || body != "ok\n" || err != nil {
				t.Errorf("/readyz: %q %q %v", got, body, err)
			}
			if code, _ := r.get(t, r.Metrics, "/healthz"); code != http.StatusBadRequest {
				t.Errorf("/healthz in plain text: %d", code)
			}
			if code, _ := r.get(t, r.Admin, "/v1/config"); code == http.StatusBadRequest {
				t.Errorf("the admin port, which is plain: %d", code)
			}
		})
	}
}

// TestSocketsArePlain: who may reach a socket is its permissions' to say.
func TestSocketsArePlain(t *testing.T) {
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	writePair(t, dir, ca.Issue(t, "server"), ca.PEM)
	socket, err := os.MkdirTemp("", "xz") //nolint:usetesting // a socket's path must be short
	mustDo(t, err)
	defer os.RemoveAll(socket)
	r := runService(t, secured(dir, fmt.Sprintf("listen: {grpc: 'unix:%s/s', metrics: '127.0.0.1:0', admin: ''}\n", socket), true))
	if code, err := ask(t.Context(), r.conn, "acme"); code != codeOK || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	if _, body, err := page(t, r, ca, "/healthz"); body != "ok\n" || err != nil {
		t.Errorf("the metrics port: %q %v", body, err)
	}
}

// counted waits until the metrics have a line.
func counted(t *testing.T, r *running, ca *tlstest.Authority, line string) {
	t.Helper()
	until(t, line, func() bool {
		_, body, err := page(t, r, ca, "/metrics")
		return err == nil && strings.Contains("\n"+body, "\n"+line+"\n")
	})
}

// TestCertificatesAreRenewed while the service runs, on both ports, and ones
// that are broken aren't used. A connection that has begun goes on.
func TestCertificatesAreRenewed(t *testing.T) {
	ca, next, dir := tlstest.NewAuthority(t), tlstest.NewAuthority(t), t.TempDir()
	writePair(t, dir, ca.Issue(t, "first"), ca.PEM)
	r := runService(t, secured(dir, listenLine, true))
	old := trusting(ca, ca.Issue(t, "client").TLS(t))
	conn, err := grpc.NewClient(r.GRPC, grpc.WithTransportCredentials(credentials.NewTLS(old)))
	mustDo(t, err)
	defer func() { _ = conn.Close() }()
	_, err = ask(t.Context(), conn, "acme")
	mustDo(t, err)

	replace(t, filepath.Join(dir, "tls.key"), "half a ke")
	counted(t, r, ca, `extauthz_tls_reloads_total{result="failure"} 1`)
	counted(t, r, ca, "extauthz_tls_last_reload_successful 0")
	if name, _, err := page(t, r, ca, "/healthz"); name != "first" || err != nil {
		t.Errorf("after a broken key: %q %v", name, err)
	}
	mustDo(t, askTLS(t, r.GRPC, old))
	if !strings.Contains(r.log.String(), "the changed certificate or key is refused") {
		t.Error("the log doesn't say that the key was refused")
	}

	both := x509.NewCertPool()
	both.AppendCertsFromPEM(ca.PEM)
	both.AppendCertsFromPEM(next.PEM)
	expires := time.Now().Add(time.Minute)
	writePair(t, dir, next.IssueUntil(t, "second", expires), next.PEM)
	counted(t, r, next, fmt.Sprintf("extauthz_tls_certificate_expiry_timestamp_seconds %v", float64(expires.Unix())))
	counted(t, r, next, "extauthz_tls_last_reload_successful 1")
	mustDo(t, askTLS(t, r.GRPC, &tls.Config{RootCAs: both, Certificates: []tls.Certificate{next.Issue(t, "client").TLS(t)}}))
	// The roots of clients may be put in place after the certificate.
	until(t, "a client of the root before is refused", func() bool {
		return status.Code(askTLS(t, r.GRPC, &tls.Config{RootCAs: both, Certificates: old.Certificates})) == codes.Unavailable
	})
	_, err = ask(t.Context(), conn, "acme")
	mustDo(t, err)
}

// TestCertificatesOfAMountedSecret are renewed all at once, by a link.
func TestCertificatesOfAMountedSecret(t *testing.T) {
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	mount := func(version string) {
		data := filepath.Join(dir, "..v"+version)
		mustDo(t, os.Mkdir(data, 0o700))
		writePair(t, data, ca.Issue(t, "v"+version), ca.PEM)
		tmp := filepath.Join(dir, "..data_tmp")
		mustDo(t, os.Symlink("..v"+version, tmp))
		mustDo(t, os.Rename(tmp, filepath.Join(dir, "..data")))
	}
	mount("1")
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		mustDo(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	r := runService(t, secured(dir, listenLine, true))
	for i, version := range []string{"2", "3"} {
		mount(version)
		counted(t, r, ca, fmt.Sprintf(`extauthz_tls_reloads_total{result="success"} %d`, i+1))
		if name, _, err := page(t, r, ca, "/healthz"); name != "v"+version || err != nil {
			t.Errorf("version %s: %q %v", version, name, err)
		}
		mustDo(t, askTLS(t, r.GRPC, trusting(ca, ca.Issue(t, "client").TLS(t))))
	}
	counted(t, r, ca, `extauthz_tls_reloads_total{result="failure"} 0`)
}

// TestACertificateThatHasExpired is used all the same: it may be the clock that
// is wrong.
func TestACertificateThatHasExpired(t *testing.T) {
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	writePair(t, dir, ca.IssueUntil(t, "server", time.Now().Add(-time.Minute)), ca.PEM)
	r := runService(t, secured(dir, listenLine, false))
	if !strings.Contains(r.log.String(), "level=WARN msg=\"the certificate is in use, though it has expired\"") {
		t.Errorf("the log:\n%s", r.log)
	}
}

// TestStartWithoutCertificates: files that have gone since they were checked.
func TestStartWithoutCertificates(t *testing.T) {
	dir := t.TempDir()
	c, report := config.Parse("", []byte(secured(dir, listenLine, false)), config.Options{LeaveFiles: true})
	mustDo(t, report.Err())
	err := Run(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, os.ErrNotExist) || e.What != "tls.cert" || !strings.Contains(e.Hint, "change tls.cert") {
		t.Errorf("%v", err)
	}
	if f := new(tlsfiles.Error); !errors.As(err, &f) || f.Path != filepath.Join(dir, "tls.crt") {
		t.Errorf("%v", err)
	}
}
