// Package crds holds the Kubernetes files of envoy-examples to the schemas of
// those who read them: Istio, Envoy Gateway and the Gateway API, each from the Go
// module that ships them. It is a module of its own, as it needs Kubernetes'
// validation, and imports nothing of the product.
//
// Start reading at crds_test.go.
package crds
