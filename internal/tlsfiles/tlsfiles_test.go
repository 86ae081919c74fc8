package tlsfiles_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/tlsfiles"
	"github.com/extauthz/extauthz/internal/tlsfiles/tlstest"
)

// folder is where a test has its files.
type folder struct{ tlsfiles.Files }

func newFolder(t *testing.T) *folder {
	dir := t.TempDir()
	return &folder{tlsfiles.Files{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), ClientCA: filepath.Join(dir, "ca.crt")}}
}

func (f *folder) write(t *testing.T, p tlstest.Pair, roots []byte) {
	t.Helper()
	must(t, os.WriteFile(f.Cert, p.Cert, 0o600))
	must(t, os.WriteFile(f.Key, p.Key, 0o600))
	must(t, os.WriteFile(f.ClientCA, roots, 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatAreNotRight(t *testing.T) {
	ca := tlstest.NewAuthority(t)
	pair, other := ca.Issue(t, "a"), ca.Issue(t, "b")
	broken := []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	for name, tc := range map[string]struct {
		change func(f *folder) error
		file   string
		want   string
		is     error
	}{
		"no certificate's file": {func(f *folder) error { return os.Remove(f.Cert) }, tlsfiles.Cert, "no such file", fs.ErrNotExist},
		"no key's file":         {func(f *folder) error { return os.Remove(f.Key) }, tlsfiles.Key, "no such file", fs.ErrNotExist},
		"no roots' file":        {func(f *folder) error { return os.Remove(f.ClientCA) }, tlsfiles.ClientCA, "no such file", fs.ErrNotExist},
		"no PEM":                {func(f *folder) error { return os.WriteFile(f.Cert, []byte("x"), 0o600) }, tlsfiles.Cert, "no certificate", tlsfiles.ErrNoCertificate},
		"a key for certificate": {func(f *folder) error { return os.WriteFile(f.Cert, pair.Key, 0o600) }, tlsfiles.Cert, "no certificate", tlsfiles.ErrNoCertificate},
		"a certificate for key": {func(f *folder) error { return os.WriteFile(f.Key, pair.Cert, 0o600) }, tlsfiles.Key, "private key", nil},
		"another's key":         {func(f *folder) error { return os.WriteFile(f.Key, other.Key, 0o600) }, tlsfiles.Key, "does not match", nil},
		"an empty key":          {func(f *folder) error { return os.WriteFile(f.Key, nil, 0o600) }, tlsfiles.Key, "PEM", nil},
		"roots without any":     {func(f *folder) error { return os.WriteFile(f.ClientCA, nil, 0o600) }, tlsfiles.ClientCA, "no certificate", tlsfiles.ErrNoCertificate},
		"a broken root": {
			func(f *folder) error { return os.WriteFile(f.ClientCA, append(bytes.Clone(ca.PEM), broken...), 0o600) },
			tlsfiles.ClientCA, "certificate 2: ", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			f.write(t, pair, ca.PEM)
			must(t, tc.change(f))
			_, err := tlsfiles.Open(f.Files)
			var e *tlsfiles.Error
			if !errors.As(err, &e) || e.File != tc.file || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Fatalf("%v, want one of %s that says %q", err, tc.file, tc.want)
			}
			if n := strings.Count(err.Error(), e.Path); n != 1 {
				t.Errorf("%v names the path %d times", err, n)
			}
		})
	}
}

// handshake is what a client sees of a server: its certificate's name, or why
// it was refused.
func handshake(t *testing.T, server, client *tls.Config) (string, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		_ = s.SetDeadline(time.Now().Add(20 * time.Second))
		if err := s.Handshake(); err != nil {
			served <- err
			return
		}
		_, err = s.Write([]byte("."))
		served <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = c.Read(make([]byte, 1)) // with TLS 1.3 a refusal comes after the handshake
	}
	if refused := <-served; err != nil || refused != nil {
		return "", errors.Join(err, refused)
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestClients(t *testing.T) {
	ca, strangers := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	f := newFolder(t)
	f.write(t, ca.Issue(t, "server"), ca.PEM)
	live, err := tlsfiles.Open(f.Files)
	must(t, err)
	with := func(a *tlstest.Authority) *tls.Config {
		return &tls.Config{RootCAs: ca.Pool, Certificates: []tls.Certificate{a.Issue(t, "client").TLS(t)}}
	}
	without := &tls.Config{RootCAs: ca.Pool}
	for name, tc := range map[string]struct {
		server, client *tls.Config
		refused        string // empty: it isn't
	}{
		"one that shows a certificate":    {live.MutualServer(), with(ca), ""},
		"one that shows none":             {live.MutualServer(), without, "didn't provide a certificate"},
		"a stranger":                      {live.MutualServer(), with(strangers), "unknown authority"},
		"one that shows none, needlessly": {live.Server(), without, ""},
		"TLS 1.2":                         {live.Server(), &tls.Config{RootCAs: ca.Pool, MaxVersion: tls.VersionTLS12}, ""},
		"TLS 1.1":                         {live.Server(), &tls.Config{RootCAs: ca.Pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "unsupported versions"},
		"one that doesn't know the root":  {live.Server(), &tls.Config{RootCAs: strangers.Pool}, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := handshake(t, tc.server, tc.client)
			switch {
			case tc.refused == "" && (err != nil || got != "server"):
				t.Errorf("%q, %v", got, err)
			case tc.refused != "" && (err == nil || !strings.Contains(err.Error(), tc.refused)):
				t.Errorf("%q, %v, want it refused: %s", got, err, tc.refused)
			}
		})
	}
}

// TestReload: servers that have begun use what is right, and go on with it when
// what comes isn't.
func TestReload(t *testing.T) {
	before, after := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	f := newFolder(t)
	f.write(t, before.Issue(t, "old"), before.PEM)
	live, err := tlsfiles.Open(f.Files)
	must(t, err)
	server := live.MutualServer()
	client := &tls.Config{RootCAs: before.Pool, Certificates: []tls.Certificate{before.Issue(t, "client").TLS(t)}}
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	shown := func() string {
		name, err := handshake(t, server, client)
		if err != nil {
			return err.Error()
		}
		return name
	}

	expires := time.Now().Add(time.Minute).Truncate(time.Second)
	f.write(t, before.IssueUntil(t, "new", expires), before.PEM)
	if got := shown(); got != "old" {
		t.Errorf("before it is asked to reload: %s", got)
	}
	must(t, live.Reload())
	if got := shown(); got != "new" || !live.Expires().Equal(expires) {
		t.Errorf("after a reload: %s until %s, want until %s", got, live.Expires(), expires)
	}
	must(t, os.WriteFile(f.Cert, []byte("half"), 0o600))
	if err := live.Reload(); !errors.Is(err, tlsfiles.ErrNoCertificate) {
		t.Errorf("a broken certificate: %v", err)
	}
	if got := shown(); got != "new" || !live.Expires().Equal(expires) {
		t.Errorf("after one that is broken: %s until %s", got, live.Expires())
	}
	// A client whose root is withdrawn is refused, a session before or not.
	f.write(t, before.Issue(t, "newer"), after.PEM)
	must(t, live.Reload())
	if got := shown(); !strings.Contains(got, "unknown authority") {
		t.Errorf("a client of a root that was withdrawn: %s", got)
	}
}

func TestPaths(t *testing.T) {
	if diff := cmp.Diff([]string{"c", "k"}, tlsfiles.Files{Cert: "c", Key: "k"}.Paths()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
