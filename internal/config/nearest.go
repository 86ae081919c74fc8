package config

import (
	"fmt"
	"strings"
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
		if n := distance(strings.ToLower(name), strings.ToLower(k)); n < least {
			best, least = k, n
		}
	}
	if best == "" || least >= len(best) {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// distance is how many letters must be put in, left out or changed to make one
// name the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
