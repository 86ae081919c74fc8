package config

import (
	"errors"

	"github.com/extauthz/extauthz/internal/tlsfiles"
)

// The keys of TLS's files.
const (
	keyCert     = "tls." + tlsfiles.Cert
	keyKey      = "tls." + tlsfiles.Key
	keyClientCA = "tls." + tlsfiles.ClientCA
)

func tlsSettings() []setting {
	file := func(key string, to func(*tlsfiles.Files) *string) setting {
		return setting{key: key, set: func(c *checked, v string) (string, string) {
			*to(&c.TLS) = v
			return "", ""
		}}
	}
	return []setting{
		file(keyCert, func(f *tlsfiles.Files) *string { return &f.Cert }),
		file(keyKey, func(f *tlsfiles.Files) *string { return &f.Key }),
		file(keyClientCA, func(f *tlsfiles.Files) *string { return &f.ClientCA }),
	}
}

// checkTLS checks TLS's files together, and reads them unless they are to be
// left alone.
func (l *layers) checkTLS(f tlsfiles.Files, settings map[string]*setting, leave bool) {
	switch {
	case f.Cert != "" && f.Key == "":
		l.problem(settings[keyCert], false, keyCert+" needs "+keyKey, "the certificate's private key, in PEM")
	case f.Cert == "" && f.Key != "":
		l.problem(settings[keyKey], false, keyKey+" needs "+keyCert, "the key's certificate, in PEM")
	case f.Cert == "" && f.ClientCA != "":
		l.problem(settings[keyClientCA], false, keyClientCA+" needs "+keyCert+" and "+keyKey, "clients show a certificate to a server that shows one")
	case f.Cert != "" && !leave:
		_, err := tlsfiles.Open(f)
		if e := new(tlsfiles.Error); errors.As(err, &e) {
			l.problem(settings["tls."+e.File], false, err.Error(), "")
		}
	}
}
