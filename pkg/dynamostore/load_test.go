package dynamostore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// cleanEnv is a machine that says nothing about AWS but where its metadata is.
func cleanEnv(t *testing.T, metadata http.HandlerFunc) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	server := httptest.NewServer(metadata)
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
}

// machine is an instance with a role, in eu-west-3.
func machine(w http.ResponseWriter, r *http.Request) {
	const role = "/latest/meta-data/iam/security-credentials/"
	answer := map[string]string{
		"/latest/api/token":                          "token",
		"/latest/dynamic/instance-identity/document": `{"region": "eu-west-3"}`,
		role:            "writer",
		role + "writer": `{"Code": "Success", "AccessKeyId": "ROLE", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}`,
	}[strings.Replace(r.URL.Path, "security-credentials-extended", "security-credentials", 1)]
	if answer == "" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
	_, _ = w.Write([]byte(answer))
}

func nowhere(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }

func TestLoadAWS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[profile prod]\nregion = eu-central-1\naws_access_key_id = PROFILE\naws_secret_access_key = s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "s"}
	with := func(more ...string) map[string]string {
		env := map[string]string{more[0]: more[1]}
		for k, v := range keys {
			env[k] = v
		}
		return env
	}
	for name, c := range map[string]struct {
		env      map[string]string
		region   string
		metadata http.HandlerFunc
		want     string // region and key
		err      error
		says     string
	}{
		"the environment":            {env: with("AWS_REGION", "eu-west-1"), metadata: nowhere, want: "eu-west-1 ENV"},
		"a region that is said":      {env: with("AWS_REGION", "eu-west-1"), region: "eu-west-2", metadata: nowhere, want: "eu-west-2 ENV"},
		"a profile":                  {env: map[string]string{"AWS_PROFILE": "prod", "AWS_CONFIG_FILE": file}, metadata: nowhere, want: "eu-central-1 PROFILE"},
		"a profile that isn't there": {env: map[string]string{"AWS_PROFILE": "nobody's"}, metadata: machine, says: "nobody's"},
		"the machine":                {metadata: machine, want: "eu-west-3 ROLE"},
		"no region":                  {env: keys, metadata: nowhere, err: ErrNoRegion},
		"no credentials":             {region: "eu-west-1", metadata: nowhere, err: ErrNoCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			cleanEnv(t, c.metadata)
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			got, err := LoadAWS(t.Context(), c.region, nil)
			if c.want == "" {
				if err == nil || c.err != nil && !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v, want %v %s", err, c.err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			keys, err := got.Credentials.Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := got.Region + " " + keys.AccessKeyID; got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestLoadAWSWithoutItsCredentials: a role that can't be had now may be had
// later, which is no fault of the configuration.
func TestLoadAWSWithoutItsCredentials(t *testing.T) {
	cleanEnv(t, nowhere)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/role")
	if _, err := LoadAWS(t.Context(), "eu-west-1", nil); err != nil {
		t.Error(err)
	}
}

func TestTheSDKSpeaksToTheLog(t *testing.T) {
	var out bytes.Buffer
	l := sdkLogger(slog.New(slog.NewTextHandler(&out, nil)))
	l.Logf(logging.Warn, "no %s", "route")
	l.Logf(logging.Debug, "every byte")
	if got := out.String(); !strings.Contains(got, `level=WARN msg="AWS SDK: no route"`) || strings.Contains(got, "every byte") {
		t.Errorf("logged %s", got)
	}
	sdkLogger(nil).Logf(logging.Warn, "no route")
}

func TestMisconfigured(t *testing.T) {
	status := func(code int, err error) error {
		return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code}}, Err: err}
	}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"a table":        {fmt.Errorf("opening: %w", &TableError{Table: "t"}), true},
		"a clock":        {&ClockError{}, true},
		"a bad request":  {status(400, errors.New("ValidationException")), true},
		"not found":      {status(404, errors.New("a page")), true},
		"throttled":      {status(400, &types.ThrottlingException{}), false},
		"too many":       {status(429, errors.New("slow down")), false},
		"a timeout":      {status(408, errors.New("slow")), false},
		"a server error": {status(503, errors.New("down")), false},
		"no route":       {errors.New("no route to host"), false},
		"no time":        {context.DeadlineExceeded, false},
	} {
		if got := Misconfigured(c.err); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
