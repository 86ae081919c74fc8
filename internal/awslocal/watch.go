package awslocal

import (
	"io"
	"net/http"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

// watch answers for CloudWatch: GetMetricStatistics, with one sum or none.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	asked, err := cbor.Decode(body)
	of, ok := asked.(cbor.Map)
	if err != nil || !ok || !strings.HasSuffix(r.URL.Path, "/GetMetricStatistics") {
		http.Error(w, "not a question that is known", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	points := cbor.List{}
	if name, ok := of["MetricName"].(cbor.String); ok {
		if sum, ok := s.consumed[string(name)]; ok {
			points = append(points, cbor.Map{"Sum": cbor.Float64(sum)})
		}
	}
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	_, _ = w.Write(cbor.Encode(cbor.Map{"Datapoints": points}))
}
