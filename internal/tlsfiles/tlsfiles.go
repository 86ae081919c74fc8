// Package tlsfiles reads what a server proves itself with, and what it wants its
// clients to be proven by, from PEM files, and has servers use what the files
// hold now. Who watches the files is the caller's business.
//
// It imports the standard library alone. Start reading at Open.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

// Files are the paths of PEM files.
type Files struct {
	Cert     string // the server's certificate, then those between it and its root
	Key      string // of the first of these
	ClientCA string // roots of clients' certificates; empty: clients need none
}

// Paths are those that aren't empty.
func (f Files) Paths() []string {
	var paths []string
	for _, p := range []string{f.Cert, f.Key, f.ClientCA} {
		if p != "" {
			paths = append(paths, p)
		}
	}
	return paths
}

// The names of the files in an Error, as the configuration has them.
const (
	Cert     = "cert"
	Key      = "key"
	ClientCA = "client_ca"
)

// Error says what is wrong with one of the files.
type Error struct {
	File string // Cert, Key or ClientCA
	Path string
	Err  error
}

// Error names the path and the cause.
func (e *Error) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrNoCertificate says that a file holds no certificate in PEM.
var ErrNoCertificate = errors.New("the file holds no certificate in PEM")

// material is what the files held at one time.
type material struct {
	certificate tls.Certificate
	expires     time.Time
	clientCAs   *x509.CertPool // nil: clients need no certificate
}

// Live is what the files hold, as it was when they were last right. It may be
// used from several goroutines.
type Live struct {
	files   Files
	current atomic.Pointer[material]
}

// Open reads the files. Errors are *Error.
func Open(f Files) (*Live, error) {
	l := &Live{files: f}
	if err := l.Reload(); err != nil {
		return nil, err
	}
	return l, nil
}

// Reload reads the files again: connections that begin after it see what they
// hold. Where they aren't right, or don't fit each other, all stays as it was;
// errors are *Error.
func (l *Live) Reload() error {
	m, err := read(l.files)
	if err != nil {
		return err
	}
	l.current.Store(m)
	return nil
}

// Expires is when the certificate in use does.
func (l *Live) Expires() time.Time { return l.current.Load().expires }

// Server is for servers that talk the application protocols named. Each
// connection that begins uses what is in use then.
func (l *Live) Server(protocols ...string) *tls.Config {
	return perConnection(func() *tls.Config { return l.current.Load().server(protocols) })
}

// MutualServer is Server, for clients that have to show a certificate where
// there are roots for them.
func (l *Live) MutualServer(protocols ...string) *tls.Config {
	return perConnection(func() *tls.Config {
		m := l.current.Load()
		c := m.server(protocols)
		if m.clientCAs != nil {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, m.clientCAs
		}
		return c
	})
}

func perConnection(config func() *tls.Config) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return config(), nil },
	}
}

func (m *material) server(protocols []string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{m.certificate},
		NextProtos:   protocols,
		// Connections are long, so that there is little to win, and each that
		// begins is checked against the roots of now.
		SessionTicketsDisabled: true,
	}
}

func read(f Files) (*material, error) {
	cert, chain, err := certificates(Cert, f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, &Error{File: Key, Path: f.Key, Err: reason(err)}
	}
	m := &material{expires: chain[0].NotAfter}
	// The certificates are right by now, so that what is left is the key's.
	if m.certificate, err = tls.X509KeyPair(cert, key); err != nil {
		return nil, &Error{File: Key, Path: f.Key, Err: err}
	}
	if f.ClientCA == "" {
		return m, nil
	}
	_, roots, err := certificates(ClientCA, f.ClientCA)
	if err != nil {
		return nil, err
	}
	m.clientCAs = x509.NewCertPool()
	for _, root := range roots {
		m.clientCAs.AddCert(root)
	}
	return m, nil
}

// certificates reads a file of one certificate at least. One among them that is
// broken is an error: left out, it would be missed only when a client is refused.
func certificates(file, path string) (text []byte, all []*x509.Certificate, err error) {
	text, err = os.ReadFile(path) //nolint:gosec // the path is whoever starts the process's to choose
	if err != nil {
		return nil, nil, &Error{File: file, Path: path, Err: reason(err)}
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, &Error{File: file, Path: path, Err: fmt.Errorf("certificate %d: %w", len(all)+1, err)}
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, nil, &Error{File: file, Path: path, Err: ErrNoCertificate}
	}
	return text, all, nil
}

// reason leaves the path out of an error, which Error has.
func reason(err error) error {
	if e := new(fs.PathError); errors.As(err, &e) {
		return e.Err
	}
	return err
}
