package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Key is the identity of a bucket: a namespace, an entity, a resource and, for
// the buckets beside the usual one, a variant. Keys are comparable; two keys
// are equal exactly when they were made from the same four values.
//
// The zero Key is no key. Make one with [NewKey].
type Key struct {
	id       string // the encoded parts, see ID
	entity   string // raw, or the beginning of it
	resource string
	// Where the encoded parts lie in id.
	entityAt, resourceAt, variantAt int32
}

// ReservedResource is the resource name under which an entity's own limits,
// for every resource, are kept. No request may charge it.
const ReservedResource = "_default_"

const (
	// The longest encoded parts that are kept as they are, in bytes; of a
	// longer one the key holds the SHA-256. Together they keep the item of a
	// bucket with 4 limits under one write unit.
	maxEntity   = 256
	maxResource = 128
	maxVariant  = 96

	// maxRaw is the longest raw value that is kept beside its encoded form, in
	// bytes; shownRaw is how much is kept of a longer one.
	maxRaw   = 256
	shownRaw = 64

	// maxNamespace is the longest name of a namespace, in bytes.
	maxNamespace = 64

	sep      = '/'
	hashMark = '~' // begins a hashed part; never occurs in an escaped one
)

// NewKey makes the key of a bucket from raw values, which may hold any bytes
// and have any length: different values never give the same key.
//
// variant is empty for the usual bucket, "shadow:RULE" for that of a rule that
// is not enforced, "UNITxN" for that of an override.
//
// The error is an [*InvalidKeyError]: an empty entity or resource, a bad name
// of a namespace (see [CheckNamespace]), or [ReservedResource].
func NewKey(namespace, entity, resource, variant string) (Key, error) {
	if err := CheckNamespace(namespace); err != nil {
		return Key{}, err
	}
	switch {
	case entity == "":
		return Key{}, &InvalidKeyError{Part: "entity", Reason: "is empty"}
	case resource == "":
		return Key{}, &InvalidKeyError{Part: "resource", Reason: "is empty"}
	case resource == ReservedResource:
		return Key{}, &InvalidKeyError{Part: "resource", Value: resource, Reason: "is a reserved name"}
	}
	return joinKey(namespace, EntityID(entity), ResourceID(resource), encodePart(variant, maxVariant), shown(entity), shown(resource)), nil
}

// joinKey makes a key that lies in one text of its own: one that is kept keeps
// nothing of the request which its parts come from.
func joinKey(namespace, entityID, resourceID, variantID, entity, resource string) Key {
	k := Key{}
	k.entityAt = int32(len(namespace) + 1)
	k.resourceAt = k.entityAt + int32(len(entityID)+1)
	k.variantAt = k.resourceAt + int32(len(resourceID)+1)
	if entity == entityID { // nearly always
		entity = ""
	}
	if resource == resourceID {
		resource = ""
	}
	end := int(k.variantAt) + len(variantID)
	var text strings.Builder
	text.Grow(end + len(entity) + len(resource))
	for _, part := range [...]string{namespace, entityID, resourceID} {
		text.WriteString(part)
		text.WriteByte(sep)
	}
	text.WriteString(variantID)
	text.WriteString(entity)
	text.WriteString(resource)
	all := text.String()
	k.id = all[:end]
	k.entity, k.resource = k.EntityID(), k.ResourceID()
	if entity != "" {
		k.entity = all[end : end+len(entity)]
	}
	if resource != "" {
		k.resource = all[end+len(entity):]
	}
	return k
}

// EntityID is an entity as it stands in a key: escaped, or hashed where that
// would be too long. Different entities never have the same.
func EntityID(entity string) string { return encodePart(entity, maxEntity) }

// ResourceID is a resource as it stands in a key, see [EntityID].
func ResourceID(resource string) string { return encodePart(resource, maxResource) }

// CheckNamespace reports whether a name can be that of a namespace: 1 to 64
// letters, digits and . _ - : @, the first a letter or a digit. The error is
// an [*InvalidKeyError].
func CheckNamespace(name string) error {
	if name == "" {
		return &InvalidKeyError{Part: "namespace", Reason: "is empty"}
	}
	if len(name) > maxNamespace {
		return &InvalidKeyError{Part: "namespace", Value: shown(name), Reason: "is longer than 64 bytes"}
	}
	for i := range len(name) {
		c := name[i]
		if !isAlnum(c) && (i == 0 || !strings.ContainsRune("._-:@", rune(c))) {
			return &InvalidKeyError{Part: "namespace", Value: name, Reason: "may hold letters, digits and . _ - : @ only, and begins with a letter or a digit"}
		}
	}
	return nil
}

// ID is the key as one text of printable ASCII without spaces: the encoded
// namespace, entity, resource and variant, with a slash between. It is
// injective: two keys with the same ID are equal.
func (k Key) ID() string { return k.id }

// Namespace is the name of the namespace.
func (k Key) Namespace() string { return k.id[:max(k.entityAt-1, 0)] }

// Entity is the raw entity; of one longer than 256 bytes, the beginning.
func (k Key) Entity() string { return k.entity }

// Resource is the raw resource; of one longer than 256 bytes, the beginning.
func (k Key) Resource() string { return k.resource }

// EntityID is the encoded entity, see [EntityID].
func (k Key) EntityID() string { return k.id[k.entityAt:max(k.resourceAt-1, 0)] }

// ResourceID is the encoded resource, see [ResourceID].
func (k Key) ResourceID() string { return k.id[k.resourceAt:max(k.variantAt-1, 0)] }

// Variant is the encoded variant, empty for the usual bucket.
func (k Key) Variant() string { return k.id[k.variantAt:] }

// IsZero reports whether this is no key.
func (k Key) IsZero() bool { return k.id == "" }

// WithEntity is the key of another entity's bucket for the same resource and
// variant: the one that a cascade charges for a parent. The entity is not
// empty.
func (k Key) WithEntity(entity string) Key {
	return joinKey(k.Namespace(), EntityID(entity), k.ResourceID(), k.Variant(), shown(entity), k.resource)
}

// encodePart escapes a raw part, or hashes it when that takes more than most
// bytes.
func encodePart(s string, most int) string {
	escapes := 0
	for i := range len(s) {
		if !isPlain(s[i]) {
			escapes++
		}
	}
	if len(s)+2*escapes > most {
		sum := sha256.Sum256([]byte(s))
		return string(hashMark) + hex.EncodeToString(sum[:])
	}
	if escapes == 0 {
		return s
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*escapes)
	for i := range len(s) {
		if c := s[i]; isPlain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

// RawPart is the raw value of an entity, a resource or a variant as it stands in
// a key. Of one that is hashed it is the hash, with a ~ before it, which no other
// value has.
func RawPart(id string) string {
	if !strings.Contains(id, "%") {
		return id
	}
	b := make([]byte, 0, len(id))
	for i := 0; i < len(id); i++ {
		if id[i] == '%' && i+2 < len(id) {
			if c, err := hex.DecodeString(id[i+1 : i+3]); err == nil {
				b = append(b, c[0])
				i += 2
				continue
			}
		}
		b = append(b, id[i])
	}
	return string(b)
}

// isPlain reports whether a byte stands for itself in an encoded part.
func isPlain(c byte) bool {
	return isAlnum(c) || c == '-' || c == '_' || c == '.' || c == ':' || c == '@' || c == '+' || c == '='
}

func isAlnum(c byte) bool {
	return c-'0' < 10 || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// shown is what is kept of a raw part beside its encoded form: of a long one the
// beginning, which ends with a whole character.
func shown(s string) string {
	if len(s) <= maxRaw {
		return s
	}
	end := shownRaw
	for end > shownRaw-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.Clone(s[:end]) // not the whole text behind it
}
