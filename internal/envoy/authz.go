package envoy

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// extAuthz is the Authorization service.
type extAuthz struct {
	authv3.UnimplementedAuthorizationServer
	*endpoint
	cfg Config
}

func newExtAuthz(cfg Config) *extAuthz {
	s := &extAuthz{cfg: cfg}
	s.endpoint = newEndpoint(authv3.Authorization_Check_FullMethodName, reader{readCheck, checkMessage}, s.decide)
	return s
}

// Check answers as a call over gRPC is answered.
func (s *extAuthz) Check(ctx context.Context, message *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	response := new(authv3.CheckResponse)
	if err := s.tell(ctx, func(c *call) { c.check(message) }, response); err != nil {
		return nil, err
	}
	return response, nil
}

// decide admits a request, denies it with an answer for the client, or says that
// there is no decision, so that Envoy's failure mode decides.
func (s *extAuthz) decide(ctx context.Context, c *call) (*reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, refuse(s.cfg.ExtAuthz, gone(err))
	}
	policy := s.cfg.Policy()
	a := s.cfg.Decider.Decide(ctx, policy, c.ptrs)
	defer s.cfg.Decider.Free(&a)
	if ctx.Err() != nil {
		s.cfg.ExtAuthz.Late()
	}
	r := s.replies.get()
	switch a.Verdict {
	case decision.Allow:
		r.allowCheck(&a, policy, c.ptrs)
	case decision.Unavailable:
		s.cfg.ExtAuthz.Refused(refusedUnavailable.reason)
		r.unavailable()
		return r, nil
	case decision.Deny, decision.Invalid:
		r.denyCheck(&a, policy, c.ptrs)
	}
	r.wire = appendMetadata(r.wire, checkMetadata, &a, policy)
	return r, nil
}

// The fields of a CheckResponse, and of what is in it.
const (
	checkStatus   protowire.Number = 1
	checkDenied   protowire.Number = 2
	checkOK       protowire.Number = 3
	checkMetadata protowire.Number = 4
	checkError    protowire.Number = 5

	statusNumber  protowire.Number = 1
	statusMessage protowire.Number = 2

	okHeaders         protowire.Number = 2
	okRemove          protowire.Number = 5
	okResponseHeaders protowire.Number = 6

	deniedStatus  protowire.Number = 1
	deniedHeaders protowire.Number = 2
	deniedBody    protowire.Number = 3
	httpCode      protowire.Number = 1

	optionHeader protowire.Number = 1
	optionAction protowire.Number = 3
)

// allowCheck sets the headers of the deciding rule's on_allow, and removes each
// that any other rule would set: else a client could send it. The chosen headers
// go to the client, in place of those that the backend sends.
func (r *reply) allowCheck(a *decision.Answer, p *decision.Policy, reqs []*descriptors.Request) {
	r.status(codes.OK, "")
	var ok int
	r.wire, ok = begin(r.wire, checkOK)
	if routing := p.Rules.RoutingHeaders(); len(routing) > 0 {
		r.route(routing, a, reqs)
	}
	r.choose(a, p)
	r.overwrite(okResponseHeaders)
	r.wire = end(r.wire, ok)
}

// route sets or removes each of the routing headers.
func (r *reply) route(routing []string, a *decision.Answer, reqs []*descriptors.Request) {
	var answers []descriptors.HeaderAnswer
	if a.Rule != nil {
		answers = a.Rule.AllowHeaders(reqs[0], a.Entity)
	}
	var removed []string
	for _, name := range routing {
		i := slices.IndexFunc(answers, func(h descriptors.HeaderAnswer) bool { return h.Name == name })
		if i < 0 || answers[i].Remove || !sendable(answers[i].Value) {
			removed = append(removed, name)
			continue
		}
		r.set(name, answers[i].Value)
	}
	r.overwrite(okHeaders)
	for _, name := range removed {
		r.wire = appendBytes(r.wire, okRemove, name)
	}
}

// unavailable is no denial: Envoy counts it as an error, and answers as the
// operator has configured.
func (r *reply) unavailable() {
	r.status(codes.Unavailable, refusedUnavailable.text)
	var none int
	r.wire, none = begin(r.wire, checkError)
	r.wire = end(r.wire, none)
}

// denyCheck is the answer for a client. Envoy needs the HTTP status, and a gRPC
// code that isn't 0.
func (r *reply) denyCheck(a *decision.Answer, p *decision.Policy, reqs []*descriptors.Request) {
	answer, forGRPC := descriptors.DenialAnswer{}, isGRPC(reqs[0].Headers[contentType])
	d := denialOf(a, reqs)
	if d != nil {
		answer = *d
	}
	if answer.Status == 0 {
		answer.Status = httpStatus(a)
	}
	code := grpcCode(answer.Status)
	r.choose(a, p)
	if answer.Status == http.StatusTooManyRequests { // which Envoy adds to the rate limit filter's denials alone
		r.set(envoyRateLimited, "true")
	}
	if forGRPC { // Envoy sends the body as the message, and code 14 for a 429
		r.set(grpcStatus, strconv.Itoa(int(code)))
		answer.Body = grpcMessage(d, a)
	} else {
		if answer.Body == "" {
			answer.ContentType = jsonType
		}
		if answer.ContentType != "" {
			r.set(contentType, answer.ContentType)
		}
	}
	r.configure(d, !forGRPC)

	r.status(code, "")
	to, denied := begin(r.wire, checkDenied)
	to, status := begin(to, deniedStatus)
	to = end(appendUint(to, httpCode, uint64(answer.Status)), status) //nolint:gosec // 3 digits
	r.wire = to
	r.overwrite(deniedHeaders)
	if answer.Body != "" {
		r.wire = appendBytes(r.wire, deniedBody, utf8Text(answer.Body))
	} else {
		var body int
		r.wire, body = begin(r.wire, deniedBody)
		r.wire = end(appendPublic(r.wire, a), body)
	}
	r.wire = end(r.wire, denied)
}

// status writes a google.rpc.Status.
func (r *reply) status(code codes.Code, message string) {
	to, status := begin(r.wire, checkStatus)
	to = appendUint(to, statusNumber, uint64(code))
	r.wire = end(appendBytes(to, statusMessage, message), status)
}

// overwrite writes the headers that were set, each of which takes the place of one
// of its name. None is left.
func (r *reply) overwrite(field protowire.Number) {
	for _, h := range r.headers {
		to, option := begin(r.wire, field)
		to = appendHeader(to, optionHeader, h)
		r.wire = end(appendUint(to, optionAction, uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)), option)
	}
	clear(r.headers)
	r.headers = r.headers[:0]
}
