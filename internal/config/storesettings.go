package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// The types of store.
const (
	StoreEmbedded = "embedded"
	StoreDynamoDB = "dynamodb"
)

// The bounds of what a process may write and remember.
const (
	maxWritesPerSecond  = 1_000_000
	maxRejectionEntries = 100_000_000
	maxRejectionBytes   = 1 << 40
)

// storeSettings are those of where buckets live, and of how they are charged
// there.
func storeSettings() []setting {
	return []setting{
		{
			key: keyStoreType, flag: "store-type", def: StoreEmbedded, usage: "`type` of store: embedded or dynamodb",
			set: func(c *checked, v string) (string, string) {
				c.Store.Type = v
				return oneOf(v, StoreEmbedded, StoreDynamoDB)
			},
		},
		{
			key: "store.path", of: StoreEmbedded,
			set: func(c *checked, v string) (string, string) {
				c.Store.Path = v
				return "", ""
			},
		},
		{
			key: keyStack, flag: "stack", def: "extauthz", short: "STACK", of: StoreDynamoDB,
			usage: "`name` of the deployment and of its table; means --store-type dynamodb; --name says it too",
			set: func(c *checked, v string) (string, string) {
				c.Store.Stack = v
				if !stackName.MatchString(v) {
					return fmt.Sprintf("%q is not a table's name: 3 to 255 letters, digits and _ . -", v), ""
				}
				return "", ""
			},
		},
		{
			key: "store.region", flag: "region", short: "REGION", of: StoreDynamoDB,
			usage: "AWS `region` of the table; empty is that of the AWS configuration",
			set: func(c *checked, v string) (string, string) {
				c.Store.Region = v
				if v != "" && !regionName.MatchString(v) {
					return fmt.Sprintf("%q is not a region's name", v), "as in eu-west-1"
				}
				return "", ""
			},
		},
		{
			key: "store.endpoint_url", flag: "endpoint-url", short: "ENDPOINT_URL", of: StoreDynamoDB,
			usage: "`URL` of a DynamoDB elsewhere, such as a local one; empty is that of the region",
			set: func(c *checked, v string) (string, string) {
				c.Store.EndpointURL = v
				return checkURL(v)
			},
		},
		{
			key: "store.create", def: "false", of: StoreDynamoDB,
			set: func(c *checked, v string) (string, string) {
				c.Store.Create = v == "true"
				return oneOf(v, "true", "false")
			},
		},
		{
			key: "store.max_writes_per_second", def: "2000", of: StoreDynamoDB,
			set: func(c *checked, v string) (complaint, hint string) {
				c.Store.MaxWritesPerSecond, complaint = whole(v, maxWritesPerSecond)
				return complaint, ""
			},
		},
		{
			key: "charge.rejections.entries", def: "100000",
			set: func(c *checked, v string) (complaint, hint string) {
				c.Rejections.Entries, complaint = whole(v, maxRejectionEntries)
				return complaint, ""
			},
		},
		{
			key: "charge.rejections.bytes", def: "64MiB",
			set: func(c *checked, v string) (complaint, hint string) {
				c.Rejections.Bytes, complaint, hint = size(v)
				return complaint, hint
			},
		},
	}
}

const (
	keyStoreType = "store.type"
	keyStack     = "store.stack"
)

var (
	stackName  = regexp.MustCompile(`^[A-Za-z0-9_.-]{3,255}$`)
	regionName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

// checkURL complains of what no requests can be sent to; empty is right.
func checkURL(v string) (complaint, hint string) {
	if v == "" {
		return "", ""
	}
	const like = "as in http://localhost:8000"
	u, err := url.Parse(v)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("%q is not the URL of a server", v), like
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "the URL has more than a scheme, a host, a port and a path", like
	}
	return "", ""
}

// whole reads a number from 1 to most.
func whole(v string, most int) (n int, complaint string) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most || strconv.Itoa(n) != v {
		return 0, fmt.Sprintf("%q is not a whole number from 1 to %d", v, most)
	}
	return n, ""
}

// units are the units of sizes.
var units = [...]struct {
	name string
	of   int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

// size reads a number of bytes.
func size(v string) (n int64, complaint, hint string) {
	number, unit := v, int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(v, u.name); ok {
			number, unit = rest, u.of
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != number {
		return 0, fmt.Sprintf("%q is not a size", v), "a whole number of bytes, or of KiB, MiB or GiB, as in 64MiB"
	}
	if n < 1 || n > maxRejectionBytes/unit {
		return 0, fmt.Sprintf("%s is not between 1 byte and %d GiB", v, maxRejectionBytes>>30), ""
	}
	return n * unit, "", ""
}

// chosenStore says which type of store is meant. A stack that a flag or the
// environment names means DynamoDB, whatever the file says, unless they name
// the type too. It tells whether the file had no say in it.
func (l *layers) chosenStore(settings map[string]*setting) (store string, byOutside bool) {
	said, _ := l.origin(settings[keyStoreType])
	stack, _ := l.origin(settings[keyStack])
	if said == "" && stack != "" {
		l.viper.Set(keyStoreType, StoreDynamoDB)
	}
	return l.viper.GetString(keyStoreType), said != "" || stack != ""
}

// foreign reports a value of a setting that is for another type of store than
// the one that was chosen, and reports whether it is. What is off may be there,
// and what the file says of the store that it is not, by a flag or the
// environment.
func (l *layers) foreign(s *setting, store string, byOutside bool) bool {
	if s.of == "" || s.of == store {
		return false
	}
	outside, n := l.origin(s)
	off := l.viper.GetString(s.key) == "" || l.viper.GetString(s.key) == "false"
	if !off && (outside != "" || n != nil && !byOutside) {
		l.problem(s, false, s.key+" is for a store of type "+s.of+", and this one is "+store, "set store.type: "+s.of)
	}
	return true
}
