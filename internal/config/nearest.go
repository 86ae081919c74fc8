package config

import (
	"fmt"
	"strings"

	edlib "github.com/hbollon/go-edlib"
)

// maxHinted bounds the names that a near one is looked for.
const maxHinted = 64

// nearest is a hint at the known name that was probably meant, or empty.
func nearest(name string, known []string) string {
	if len(name) > maxHinted {
		return ""
	}
	best, least := "", max(2, len(name)/3)+1
	for _, k := range known {
		if n := distance(name, k); n < least {
			best, least = k, n
		}
	}
	if best == "" || least >= len(best) {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// distance is how many letters must be put in, left out, changed or swapped with
// the next to make one name the other.
func distance(a, b string) int {
	return edlib.OSADamerauLevenshteinDistance(strings.ToLower(a), strings.ToLower(b))
}
