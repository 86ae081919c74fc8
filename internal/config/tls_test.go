package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/tlsfiles"
	"github.com/extauthz/extauthz/internal/tlsfiles/tlstest"
)

// TestTLS: each fault of the files is told where the file is named.
func TestTLS(t *testing.T) {
	ca := tlstest.NewAuthority(t)
	pair, other := ca.Issue(t, "a"), ca.Issue(t, "b")
	dir := t.TempDir()
	t.Chdir(dir) // paths are relative to it
	for name, content := range map[string][]byte{
		"cert.pem": pair.Cert, "key.pem": pair.Key, "other.pem": other.Key, "ca.pem": ca.PEM, "text.pem": []byte("text"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		file  string
		env   map[string]string
		leave bool
		want  []string
	}{
		"none":         {file: `tls: {cert: "", key: "", client_ca: ""}`},
		"of a server":  {file: "tls: {cert: cert.pem, key: key.pem}"},
		"of both":      {file: "tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem}"},
		"absolute":     {file: "tls: {cert: " + filepath.Join(dir, "cert.pem") + ", key: key.pem}"},
		"another's":    {file: "tls: {cert: cert.pem, key: other.pem}", want: []string{"x.yaml:1:28: other.pem: tls: private key does not match public key"}},
		"no PEM":       {file: "tls: {cert: text.pem, key: key.pem}", want: []string{"x.yaml:1:13: text.pem: the file holds no certificate in PEM"}},
		"no roots":     {file: "tls: {cert: cert.pem, key: key.pem, client_ca: key.pem}", want: []string{"x.yaml:1:48: key.pem: the file holds no certificate in PEM"}},
		"left alone":   {file: "tls: {cert: text.pem, key: key.pem}", leave: true},
		"half, though": {file: "tls: {cert: text.pem}", leave: true, want: []string{"x.yaml:1:13: tls.cert needs tls.key (the certificate's private key, in PEM)"}},
		"environment": {
			file: "tls: {cert: text.pem, key: key.pem}", env: map[string]string{"EXTAUTHZ_TLS_CERT": "none.pem"},
			want: []string{"EXTAUTHZ_TLS_CERT: none.pem: no such file or directory"},
		},
		"environment alone": {
			env: map[string]string{"EXTAUTHZ_TLS_CERT": "cert.pem", "EXTAUTHZ_TLS_KEY": "key.pem", "EXTAUTHZ_TLS_CLIENT_CA": "ca.pem"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			got, report := config.Parse("x.yaml", []byte(c.file), config.Options{LeaveFiles: c.leave})
			if diff := cmp.Diff(strings.Join(c.want, "\n"), strings.Join(report.Lines(), "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(c.want) == 0 && (got.TLS == tlsfiles.Files{}) != (name == "none") {
				t.Errorf("%+v", got.TLS)
			}
		})
	}
}
