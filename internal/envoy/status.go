package envoy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/internal/telemetry"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// refusal is why a call is answered with an error in place of a decision. An
// error of either service means to Envoy that there was no answer: its failure
// mode decides, which by default lets a rate limited request through.
type refusal struct {
	reason string // as a label
	code   codes.Code
	text   string
}

var (
	refusedNoDomain      = refusal{telemetry.RefusedNoDomain, codes.InvalidArgument, "the request names no domain"}
	refusedNoDescriptors = refusal{telemetry.RefusedNoDescriptors, codes.InvalidArgument, "the request has no descriptors"}
	refusedTooMany       = refusal{telemetry.RefusedTooMany, codes.InvalidArgument, fmt.Sprintf("the request has more than %d descriptors", maxDescriptors)}
	refusedUnknownUnit   = refusal{telemetry.RefusedUnknownUnit, codes.InvalidArgument, "a descriptor's limit has a unit that isn't SECOND, MINUTE, HOUR, DAY, MONTH or YEAR"}
	refusedUnavailable   = refusal{telemetry.RefusedUnavailable, codes.Unavailable, "the store gave no answer in time"}
	refusedLate          = refusal{telemetry.RefusedGone, codes.DeadlineExceeded, "the deadline has passed"}
	refusedCanceled      = refusal{telemetry.RefusedGone, codes.Canceled, "the caller has gone away"}
)

// gone is the refusal of a call whose context is done: nobody waits for the
// answer, and Envoy has decided without us. It must not be charged for.
func gone(err error) refusal {
	if errors.Is(err, context.DeadlineExceeded) {
		return refusedLate
	}
	return refusedCanceled
}

// refuse counts a refusal and makes it a gRPC error.
func refuse(calls *telemetry.Calls, r refusal) error {
	calls.Refused(r.reason)
	return status.Error(r.code, r.text)
}

// httpStatus is the status of a denial for which the rule has none.
func httpStatus(a *decision.Answer) int {
	switch {
	case a.Verdict == decision.Invalid:
		return http.StatusBadRequest
	case a.Reason == decision.ReasonUnavailable:
		return http.StatusServiceUnavailable
	case waitMayHelp(a):
		return http.StatusTooManyRequests
	}
	return http.StatusForbidden
}

// waitMayHelp tells too many requests from those that are not wanted at all.
func waitMayHelp(a *decision.Answer) bool {
	return a.Reason == ratelimit.ReasonExceeded.String() || a.Reason == ratelimit.ReasonNever.String()
}

// grpcCode is the code that goes with the status of a denial. It is never OK,
// which Envoy would take as an admission whatever else the answer says.
func grpcCode(httpStatus int) codes.Code {
	switch httpStatus {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	}
	return codes.ResourceExhausted
}

// isGRPC reports whether a request's content type is one of gRPC's.
func isGRPC(contentType string) bool {
	const grpc = "application/grpc"
	return len(contentType) >= len(grpc) && strings.EqualFold(contentType[:len(grpc)], grpc)
}
