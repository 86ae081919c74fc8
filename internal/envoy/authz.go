package envoy

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// extAuthz is the Authorization service.
type extAuthz struct {
	authv3.UnimplementedAuthorizationServer
	cfg  Config
	pool requestPool
}

func newExtAuthz(cfg Config) *extAuthz { return &extAuthz{cfg: cfg} }

// Check admits a request, denies it with an answer for the client, or says that
// there is no decision, so that Envoy's failure mode decides.
func (s *extAuthz) Check(ctx context.Context, call *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, refuse(s.cfg.ExtAuthz, gone(err))
	}
	reqs := s.pool.get(1)
	defer s.pool.put(reqs)
	req := reqs.ptrs[0]
	descriptors.FromCheck(call, req)
	policy := s.cfg.Policy()
	a := s.cfg.Decider.Decide(ctx, policy, reqs.ptrs)
	if ctx.Err() != nil {
		s.cfg.ExtAuthz.Late()
	}
	var response *authv3.CheckResponse
	switch a.Verdict {
	case decision.Allow:
		response = allowResponse(&a, policy, req)
	case decision.Unavailable:
		s.cfg.ExtAuthz.Refused(refusedUnavailable.reason)
		return unavailableResponse(), nil
	case decision.Deny, decision.Invalid:
		response = denyResponse(&a, policy, req)
	}
	setMetadata(response, checkMetadata, &a, policy)
	return response, nil
}

// allowResponse sets the headers of the deciding rule's on_allow, and removes
// each that any other rule would set: else a client could send it. The chosen
// headers go to the client, in place of those that the backend sends.
func allowResponse(a *decision.Answer, p *decision.Policy, req *descriptors.Request) *authv3.CheckResponse {
	told := withChosen(make([]header, 0, usualHeaders), a, p)
	ok := &authv3.OkHttpResponse{ResponseHeadersToAdd: overwriteAll(told)}
	if routing := p.Rules.RoutingHeaders(); len(routing) > 0 {
		var answers []descriptors.HeaderAnswer
		var routed []header
		if a.Rule != nil {
			answers = a.Rule.AllowHeaders(req, a.Entity)
		}
		for _, name := range routing {
			i := slices.IndexFunc(answers, func(h descriptors.HeaderAnswer) bool { return h.Name == name })
			if i < 0 || answers[i].Remove || !sendable(answers[i].Value) {
				ok.HeadersToRemove = append(ok.HeadersToRemove, name)
				continue
			}
			routed = append(routed, header{name, answers[i].Value})
		}
		ok.Headers = overwriteAll(routed)
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// unavailableResponse is no denial: Envoy counts it as an error, and answers as
// the operator has configured.
func unavailableResponse() *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.Unavailable), Message: refusedUnavailable.text},
		HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{}},
	}
}

// denyResponse is the answer for a client. Envoy needs the HTTP status, and a
// gRPC code that isn't 0.
func denyResponse(a *decision.Answer, p *decision.Policy, req *descriptors.Request) *authv3.CheckResponse {
	answer, forGRPC := descriptors.DenialAnswer{}, isGRPC(req.Headers[contentType])
	d := denialOf(a, []*descriptors.Request{req})
	if d != nil {
		answer = *d
	}
	if answer.Status == 0 {
		answer.Status = httpStatus(a)
	}
	code := grpcCode(answer.Status)
	headers := withChosen(make([]header, 0, usualHeaders), a, p)
	if answer.Status == http.StatusTooManyRequests { // which Envoy adds to the rate limit filter's denials alone
		headers = append(headers, header{envoyRateLimited, "true"})
	}
	if forGRPC { // Envoy sends the body as the message, and code 14 for a 429
		headers = set(headers, grpcStatus, strconv.Itoa(int(code)))
		answer.Body = grpcMessage(d, a)
	} else {
		if answer.Body == "" {
			answer.Body, answer.ContentType = publicJSON(a), jsonType
		}
		if answer.ContentType != "" {
			headers = set(headers, contentType, answer.ContentType)
		}
	}
	headers = withConfigured(headers, d, !forGRPC)
	denied := &authv3.DeniedHttpResponse{
		Status:  &typev3.HttpStatus{Code: typev3.StatusCode(answer.Status)}, //nolint:gosec // 3 digits
		Body:    answer.Body,
		Headers: overwriteAll(headers),
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(code)}, //nolint:gosec // below 17
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
	}
}

// overwriteAll has each header take the place of one of its name, allocated
// together.
func overwriteAll(headers []header) []*corev3.HeaderValueOption {
	if len(headers) == 0 {
		return nil
	}
	all, options := make([]*corev3.HeaderValueOption, len(headers)), make([]corev3.HeaderValueOption, len(headers))
	for i, v := range headerValues(headers) {
		all[i] = &options[i]
		all[i].Header, all[i].AppendAction = v, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	}
	return all
}
