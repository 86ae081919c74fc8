package dynamostore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// captured keeps the last request, and answers it with an empty object.
type captured struct {
	request *http.Request
	body    []byte
	answer  func(*http.Response)
}

func (c *captured) RoundTrip(r *http.Request) (*http.Response, error) {
	c.request = r
	c.body, _ = io.ReadAll(r.Body)
	_ = r.Body.Close()
	answer := &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, Request: r,
		ContentLength: 2, Body: io.NopCloser(strings.NewReader("{}")),
	}
	if c.answer != nil {
		c.answer(answer)
	}
	return answer, nil
}

// The updater sends what the SDK's client would, to where it would.
func TestUpdaterSendsAsTheSDKDoes(t *testing.T) {
	in := expressionsForTest(t)
	for _, c := range []struct{ name, region, url, token string }{
		{name: "a region", region: "eu-central-1"},
		{name: "a region of another partition", region: "cn-north-1", token: "session"},
		{name: "an endpoint", region: "us-east-1", url: "http://127.0.0.1:8000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ours, theirs captured
			cfg := Config{AWS: aws.Config{
				Region: c.region, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", c.token),
			}, EndpointURL: c.url}
			charges, _ := newClients(&cfg, &ours)
			if _, err := charges.UpdateItem(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			_, others := newClients(&cfg, &theirs)
			if _, err := others.UpdateItem(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			type sent struct {
				Method, URL, Target, ContentType, Token, Scope string
				Body                                           map[string]any
			}
			of := func(c *captured) sent {
				h := c.request.Header
				_, scope, _ := strings.Cut(h.Get("Authorization"), "/")
				scope, _, _ = strings.Cut(scope, ",")
				s := sent{
					c.request.Method, c.request.URL.String(), h.Get("X-Amz-Target"),
					h.Get("Content-Type"), h.Get("X-Amz-Security-Token"), scope, nil,
				}
				if err := json.Unmarshal(c.body, &s.Body); err != nil {
					t.Fatal(err)
				}
				return s
			}
			if diff := cmp.Diff(of(&theirs), of(&ours)); diff != "" {
				t.Errorf("the SDK's client sends (-), the updater (+):\n%s", diff)
			}
			checkSignature(t, &ours, cfg.AWS)
		})
	}
}

// checkSignature signs again what was sent.
func checkSignature(t *testing.T, c *captured, cfg aws.Config) {
	t.Helper()
	r := c.request.Clone(t.Context())
	r.Header.Del("Authorization")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	creds, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(c.body)
	r.ContentLength = int64(len(c.body))
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(sum[:]), "dynamodb", cfg.Region, at); err != nil {
		t.Fatal(err)
	}
	if want, got := r.Header.Get("Authorization"), c.request.Header.Get("Authorization"); want != got {
		t.Errorf("signed %s, want %s", got, want)
	}
}

// An answer that did not arrive whole, and a redirection, leave open what became
// of the write; neither makes a second one.
func TestUpdaterDoubts(t *testing.T) {
	for name, answer := range map[string]func(*http.Response){
		"a wrong checksum": func(r *http.Response) { r.Header.Set("X-Amz-Crc32", "1") },
		"a redirection": func(r *http.Response) {
			r.StatusCode = http.StatusTemporaryRedirect
			r.Header.Set("Location", "http://127.0.0.1:1/")
		},
		"no JSON": func(r *http.Response) { r.Body = io.NopCloser(bytes.NewReader([]byte("<html>"))) },
	} {
		t.Run(name, func(t *testing.T) {
			transport := captured{answer: answer}
			cfg := config("http://127.0.0.1:1", "extauthz")
			charges, _ := newClients(&cfg, &transport)
			_, err := charges.UpdateItem(t.Context(), expressionsForTest(t))
			if err == nil {
				t.Fatal("no error")
			}
			if kind, _ := new(Store).sorted(err, true); kind != KindUnknown {
				t.Errorf("it is sorted as %s: %v", kind, err)
			}
		})
	}
}

func expressionsForTest(t *testing.T) *dynamodb.UpdateItemInput {
	t.Helper()
	e, err := expressionsOf(&ratelimit.Write{
		Key: key(t, "user-123"), Op: ratelimit.OpCharge, Stamp: 1001, Same: true, TTLMin: 5,
		Limits: []ratelimit.LimitWrite{{Slot: 1, Min: 1000, Max: ratelimit.NoMax, Form: ratelimit.FormAdd, Value: -1000, Charged: 1000}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e.input("extauthz", "3q7xk2m9vd/e/user-123", "b/gpt-4")
}
