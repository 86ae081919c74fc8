package embedstore

import (
	"encoding/binary"
	"strings"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// The keys of records. All that a namespace holds has its id in the key, after
// a letter that says what it is:
//
//	n/NAME            the id that a name leads to
//	i/ID              the namespace of an id
//	c/ID/KIND...      an item of the configuration
//	l/ID/REVISION     the record of a change, in the order of revisions
//	a/ID/ULID         an audit event, in the order of time
//	o/ID/OPERATION    the record of an operation
//	b/ID/KEY          a bucket
const (
	nameKeys  = "n/"
	idKeys    = "i/"
	itemKeys  = "c/"
	logKeys   = "l/"
	auditKeys = "a/"
	doneKeys  = "o/"
	stateKeys = "b/"
)

// owned begin the keys of what is gone once a namespace is purged.
var owned = [...]string{itemKeys, logKeys, auditKeys, doneKeys, stateKeys}

func nameKey(name string) string { return nameKeys + name }
func idKey(id string) string     { return idKeys + id }

func itemsOf(id string) string { return itemKeys + id + "/" }
func logOf(id string) string   { return logKeys + id + "/" }
func auditOf(id string) string { return auditKeys + id + "/" }

// itemKey is the key of an item: no two items have the same, and items of one
// kind are in the order of their names.
func itemKey(id string, r hierarchy.Ref) string {
	return itemsOf(id) + string(rune('0'+r.Kind)) + terminated(r.Name) + terminated(r.Resource)
}

// terminated marks the end of a text that may hold any byte, so that it is no
// beginning of a longer one, and comes before it.
func terminated(s string) string { return strings.ReplaceAll(s, "\x00", "\x00\x02") + "\x00\x01" }

func logKey(id string, revision int64) string {
	return logOf(id) + string(binary.BigEndian.AppendUint64(nil, uint64(revision)))
}

func stateKey(id, rest string) string { return stateKeys + id + "/" + rest }

func auditKey(id, event string) string { return auditOf(id) + event }
