package dynamostore

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// The caller is whom AWS names; where it names nobody, that is an error.
func TestCaller(t *testing.T) {
	known := true
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
			<Arn>arn:aws:iam::123456789012:user/alice</Arn><UserId>AIDA</UserId><Account>123456789012</Account>
			</GetCallerIdentityResult></GetCallerIdentityResponse>`
		w.Header().Set("Content-Type", "text/xml")
		if err := r.ParseForm(); err != nil || r.Form.Get("Action") != "GetCallerIdentity" || !strings.Contains(r.Header.Get("Authorization"), "AKIDTEST/") || !known {
			w.WriteHeader(http.StatusForbidden)
			answer = `<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>no</Message></Error></ErrorResponse>`
		}
		if _, err := fmt.Fprint(w, answer); err != nil {
			t.Error(err)
		}
	}))
	defer s.Close()
	c := aws.Config{
		Region: "eu-west-1", BaseEndpoint: &s.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", ""),
	}
	if arn, err := Caller(t.Context(), c); err != nil || arn != "arn:aws:iam::123456789012:user/alice" {
		t.Errorf("Caller: %q, %v", arn, err)
	}
	known = false
	if arn, err := Caller(t.Context(), c); err == nil {
		t.Errorf("a caller that isn't known: %q", arn)
	}
}
