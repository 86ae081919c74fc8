package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	rlscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/extauthz/extauthz"
)

// question is what the application of a script asks.
type question struct {
	namespace, entity, resource string
	tokens                      int64
}

// app is an application as the scripts start it: app ENTITY RESOURCE [TOKENS].
// It takes one of "requests" and of "rpm" and the tokens of "tpm": of the service
// at $GRPC, by Envoy's protocol; without one by the library, of the table that the
// environment names. Where nothing else says so, it has 100 requests a minute. The
// exit status is 0 when it was admitted.
func app() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: app ENTITY RESOURCE [TOKENS]")
		os.Exit(1)
	}
	q := question{namespace: cmp.Or(os.Getenv("EXTAUTHZ_NAMESPACE"), "default"), entity: os.Args[1], resource: os.Args[2], tokens: 1}
	var err error
	if len(os.Args) > 3 {
		q.tokens, err = strconv.ParseInt(os.Args[3], 10, 32)
	}
	said := ""
	switch address := os.Getenv("GRPC"); {
	case err != nil:
	case address != "":
		said, err = askService(ctx, address, q)
	default:
		said, err = askLibrary(ctx, q)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(said)
	if said != "done" {
		os.Exit(1)
	}
}

// askLibrary is the program of the first page: the table is made where it is
// missing, and so is the namespace.
//
//nolint:contextcheck // Close is bounded by itself, also when the context has ended
func askLibrary(ctx context.Context, q question) (said string, err error) {
	limiter, err := extauthz.Open(ctx, extauthz.Options{Namespace: q.namespace, Create: true, Register: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, limiter.Close()) }()
	if err := limiter.Ping(ctx); err != nil {
		return "", err
	}
	err = limiter.Do(ctx, extauthz.Request{
		Entity: q.entity, Resource: q.resource,
		Consume:       map[string]int64{"requests": 1, "rpm": 1, "tpm": q.tokens},
		DefaultLimits: []extauthz.Limit{extauthz.PerMinute("requests", 100)},
	}, func(context.Context, *extauthz.Lease) error { return nil })
	var denied *extauthz.ExceededError
	switch {
	case errors.Is(err, extauthz.ErrUnsatisfiable):
		return "never", nil
	case errors.As(err, &denied):
		return fmt.Sprint("retry after ", denied.RetryAfterSeconds()), nil
	default:
		return "done", err
	}
}

// askService asks as Envoy's rate limit filter does.
func askService(ctx context.Context, address string, q question) (said string, err error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", fmt.Errorf("reaching the service: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	descriptor := &rlscommonv3.RateLimitDescriptor{}
	for _, e := range [][2]string{{"namespace", q.namespace}, {"entity", q.entity}, {"resource", q.resource}} {
		descriptor.Entries = append(descriptor.Entries, &rlscommonv3.RateLimitDescriptor_Entry{Key: e[0], Value: e[1]})
	}
	answer, err := rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(ctx, &rlsv3.RateLimitRequest{
		Domain: "app", HitsAddend: uint32(q.tokens), Descriptors: []*rlscommonv3.RateLimitDescriptor{descriptor},
	}, grpc.WaitForReady(true))
	if err != nil {
		return "", fmt.Errorf("asking the service: %w", err)
	}
	if answer.GetOverallCode() == rlsv3.RateLimitResponse_OK {
		return "done", nil
	}
	for _, h := range answer.GetResponseHeadersToAdd() {
		if strings.EqualFold(h.GetKey(), "retry-after") {
			return "retry after " + h.GetValue(), nil
		}
	}
	return "never", nil
}
