// Package envoy speaks Envoy's two protocols: the rate limit service
// (ShouldRateLimit) and external authorization (Check). It turns a decision of
// internal/decision into what Envoy understands, and knows what Envoy does with
// each field: docs/design.md and the comments beside the fields say what was
// measured.
//
// Besides pkg/descriptors/envoy.go and internal/httpcheck, which asks the same
// services, it is the only package that imports the protos, so it also registers the services (Register) and supplies the codec
// that reads requests whose text isn't UTF-8 (Codec). Start reading at
// rls.go and authz.go; status.go has the one mapping to gRPC's codes.
package envoy
