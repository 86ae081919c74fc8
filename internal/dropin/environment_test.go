package dropin

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		environ []string
		want    Environment
		notices []string // variable: message
	}{
		"nothing": {environ: []string{"PATH=/bin", "PORT=", "HOSTNAME=x"}, want: Environment{Folder: "/srv/runtime_data/current/config"}},
		"all": {
			environ: []string{
				"RUNTIME_ROOT=/data", "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_APPDIRECTORY=conf",
				"HOST=127.0.0.1", "PORT=80", "GRPC_HOST=::1", "GRPC_PORT=81", "DEBUG_PORT=82",
				"LOG_LEVEL=WARNING", "SHADOW_MODE=true", "QUOTA_MODE=1", "MERGE_DOMAIN_CONFIG=t",
				"LIMIT_RESPONSE_HEADERS_ENABLED=true", "LIMIT_RESET_HEADER=x-reset",
			},
			want: Environment{
				Folder: "/data/ratelimit/conf", HTTP: "127.0.0.1:80", GRPC: "[::1]:81", Admin: "127.0.0.1:82",
				LogLevel: "warn", Shadow: true, Quotas: true, MergeDomains: true,
				Headers: []string{"RateLimit-Limit", "RateLimit-Remaining", "x-reset"},
			},
		},
		"hosts and ports": {
			environ: []string{"HOST=10.0.0.1", "GRPC_PORT=8082", "LOG_LEVEL=trace"},
			want:    Environment{Folder: "/srv/runtime_data/current/config", HTTP: "10.0.0.1:8080", GRPC: ":8082", LogLevel: "debug"},
		},
		"a socket": {
			environ: []string{"GRPC_UDS=/run/rl.sock", "LOG_LEVEL=Fatal"},
			want:    Environment{Folder: "/srv/runtime_data/current/config", GRPC: "unix:/run/rl.sock", LogLevel: "error"},
		},
		"headers that nobody asked for": {environ: []string{"LIMIT_LIMIT_HEADER=x"}, want: Environment{Folder: "/srv/runtime_data/current/config"}},
		"what makes no sense": {
			environ: []string{"PORT=http", "GRPC_PORT=0", "LOG_LEVEL=loud", "SHADOW_MODE=maybe", "LIMIT_RESPONSE_HEADERS_ENABLED=true", "LIMIT_LIMIT_HEADER=a b"},
			want:    Environment{Folder: "/srv/runtime_data/current/config", Headers: []string{"a b", "RateLimit-Remaining", "RateLimit-Reset"}},
			notices: []string{
				`PORT: "http" is not a port`, `GRPC_PORT: "0" is not a port`, `LOG_LEVEL: "loud" is not a level`,
				`SHADOW_MODE: "maybe" is not true or false`, `LIMIT_LIMIT_HEADER: "a b" is no name of a header`,
			},
		},
		"what nothing reads": {
			environ: []string{"REDIS_URL=redis:6379", "USE_STATSD=false", "DOG_STATSD_MOGRIFIER_X_NAME=y", "OTHER=1", "GRPC_SERVER_USE_TLS=true"},
			want:    Environment{Folder: "/srv/runtime_data/current/config"},
			notices: []string{
				"DOG_STATSD_MOGRIFIER_X_NAME: nothing reads this variable here", "GRPC_SERVER_USE_TLS: nothing reads this variable here",
				"REDIS_URL: nothing reads this variable here", "USE_STATSD: nothing reads this variable here",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, notices := ReadEnvironment(c.environ)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var said []string
			for _, n := range notices {
				said = append(said, n.Variable+": "+n.Message)
				if n.Warning && n.Hint == "" {
					t.Errorf("%s: nothing is said to take its place", n.Variable)
				}
			}
			if diff := cmp.Diff(c.notices, said); diff != "" {
				t.Errorf("notices, -want +got:\n%s", diff)
			}
		})
	}
}

// heeded are the variables that are read; all others of that service have a
// place in elsewhere.
const heeded = `HOST PORT DEBUG_PORT GRPC_UDS GRPC_HOST GRPC_PORT LOG_LEVEL RUNTIME_ROOT RUNTIME_SUBDIRECTORY RUNTIME_APPDIRECTORY
	MERGE_DOMAIN_CONFIG LIMIT_RESPONSE_HEADERS_ENABLED LIMIT_LIMIT_HEADER LIMIT_REMAINING_HEADER LIMIT_RESET_HEADER SHADOW_MODE QUOTA_MODE`

// TestVariablesAreKnownOnce: there are 114, and two more for which there is
// documentation alone.
func TestVariablesAreKnownOnce(t *testing.T) {
	all := strings.Fields(heeded)
	for _, group := range elsewhere {
		all = append(all, group.names...)
	}
	seen := map[string]bool{}
	for _, name := range all {
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
	if len(all) != 116 {
		t.Errorf("%d variables are known", len(all))
	}
}
