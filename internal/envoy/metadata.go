package envoy

import (
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/extauthz/extauthz/internal/decision"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// sources are the dynamic metadata of answers, by what a decision rests on: for
// Envoy's access log and the filters after it. All answers share them, and
// nobody changes them.
type sources [ratelimit.SourceFallback + 1]*structpb.Struct

func newSources() sources {
	var all sources
	for s := range all {
		all[s] = &structpb.Struct{Fields: map[string]*structpb.Value{
			"source": structpb.NewStringValue(ratelimit.Source(s).String()),
		}}
	}
	return all
}

// of is the metadata of an answer, nil where nothing was charged. A store in the
// process is never anything but asked, which isn't worth the bytes.
func (all *sources) of(a *decision.Answer, p *decision.Policy) *structpb.Struct {
	if p.InProcess || len(a.Decision.Buckets) == 0 && a.Source != ratelimit.SourceFallback {
		return nil
	}
	return all[a.Source]
}
