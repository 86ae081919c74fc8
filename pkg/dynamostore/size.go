package dynamostore

import (
	"strconv"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

const (
	unitBytes = 1024 // of one write unit

	// What an item has beside its key and its limits, at most: v, sh, at, lt,
	// born and ttl, with their names.
	fixedBytes = 6 + 10 + 10 + 10 + 12 + 9
	// What a limit has beside its text and the names of its attributes: a
	// balance below zero and two counters of 15 digits.
	numberBytes = 10 + 9 + 9

	// usualEntity and usualResource are how long names are taken to be that
	// aren't known, in bytes.
	usualEntity, usualResource = 256, 64
)

// WriteUnits is how many write units a charge of a bucket with these limits
// costs, at most. An entity or a resource that is empty is any: one of 256 or 64
// bytes.
func WriteUnits(entity, resource string, limits []ratelimit.Limit) int {
	n := len(attrPK) + idLength + len("/e/") + len(attrSK) + len("b/") + fixedBytes
	n += lengthOf(entity, ratelimit.EntityID, usualEntity) + lengthOf(resource, ratelimit.ResourceID, usualResource)
	for i := range limits {
		p := ratelimit.ParamsOf(limits[i])
		text, err := paramsText(&p)
		if err != nil { // a limit is continuous
			continue
		}
		n += len(text) + numberBytes + 4*(1+len(strconv.Itoa(i+1)))
	}
	return (n + unitBytes - 1) / unitBytes
}

func lengthOf(name string, encoded func(string) string, usual int) int {
	if name == "" {
		return usual
	}
	return len(encoded(name))
}
