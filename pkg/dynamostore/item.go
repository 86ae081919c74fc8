package dynamostore

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The attributes of a bucket's item. Those of a limit end in its slot.
const (
	attrPK    = "PK"
	attrSK    = "SK"
	attrV     = "v"
	attrShape = "sh"
	attrAt    = "at"
	attrLast  = "lt"
	attrBorn  = "born"
	attrTTL   = "ttl"

	prefixBalance  = 'b'
	prefixCharged  = 'c'
	prefixReturned = 'r'
	prefixParams   = 'p'
)

// maxSlot bounds what is read from an item: far above what a bucket can have,
// whose expressions and size end it at about a hundred.
const maxSlot = 1000

// bucketKey is where the bucket of a key is. The parts of a key hold no slash,
// so that no two keys meet; what else belongs to an entity has other sort keys
// beside its buckets.
func bucketKey(namespace string, k ratelimit.Key) (pk, sk string) {
	sk = "b/" + k.ResourceID()
	if v := k.Variant(); v != "" {
		sk += "/" + v
	}
	return namespace + "/e/" + k.EntityID(), sk
}

// item is an item as the SDK has it.
type item = map[string]types.AttributeValue

// decode reads a bucket's item. The item of an absent bucket is empty. What it
// does not know it passes over: a newer program may have written it. The error
// is an [*ItemError].
func decode(k ratelimit.Key, it item) (ratelimit.State, error) {
	s := ratelimit.State{Exists: len(it) > 0}
	for name, value := range it {
		if err := decodeAttribute(&s, name, value); err != nil {
			return ratelimit.State{}, &ItemError{Key: k, Attribute: name, Reason: err.Error()}
		}
	}
	for i := range s.Limits {
		if l := &s.Limits[i]; l.On && l.Refill == nil {
			return ratelimit.State{}, &ItemError{Key: k, Attribute: attribute(prefixParams, i+1), Reason: "is missing beside its balance"}
		}
	}
	return s, nil
}

func decodeAttribute(s *ratelimit.State, name string, value types.AttributeValue) error {
	switch name {
	case attrV:
		return number(value, &s.Revision)
	case attrShape:
		return shape(value, &s.Shape)
	case attrAt:
		return number(value, &s.ShapedAt)
	case attrLast:
		return number(value, &s.Last)
	case attrBorn:
		return number(value, &s.Born)
	case attrTTL:
		return number(value, &s.ExpiresAt)
	}
	prefix, slot := slotOf(name)
	if slot == 0 {
		return nil
	}
	for len(s.Limits) < slot {
		s.Limits = append(s.Limits, ratelimit.LimitState{})
	}
	l := &s.Limits[slot-1]
	switch prefix {
	case prefixBalance:
		l.On = true
		return number(value, &l.Balance)
	case prefixCharged:
		return number(value, &l.Charged)
	case prefixReturned:
		return number(value, &l.Returned)
	default:
		return params(value, &l.Params)
	}
}

// attribute is the name of a limit's attribute.
func attribute(prefix byte, slot int) string { return string(prefix) + strconv.Itoa(slot) }

// slotOf splits the name of a limit's attribute; the slot is 0 for any other.
func slotOf(name string) (prefix byte, slot int) {
	if len(name) < 2 || len(name) > 5 || name[1] == '0' {
		return 0, 0
	}
	switch name[0] {
	case prefixBalance, prefixCharged, prefixReturned, prefixParams:
	default:
		return 0, 0
	}
	for i := 1; i < len(name); i++ {
		if name[i] < '0' || name[i] > '9' {
			return 0, 0
		}
		slot = 10*slot + int(name[i]-'0')
	}
	if slot > maxSlot {
		return 0, 0
	}
	return name[0], slot
}

// number reads a whole number. DynamoDB's have 38 digits and its sums never
// wrap; beyond 64 bits they saturate here, as all sums of ours do.
func number[T ~int64](value types.AttributeValue, into *T) error {
	n, ok := value.(*types.AttributeValueMemberN)
	if !ok {
		return errors.New("is not a number")
	}
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return errors.New("is not a whole number")
	}
	*into = T(v)
	return nil
}

func shape(value types.AttributeValue, into *ratelimit.Shape) error {
	b, ok := value.(*types.AttributeValueMemberB)
	if !ok || len(b.Value) != 8 {
		return errors.New("is not 8 bytes")
	}
	*into = ratelimit.Shape(binary.BigEndian.Uint64(b.Value))
	return nil
}

func shapeValue(s ratelimit.Shape) types.AttributeValue {
	return &types.AttributeValueMemberB{Value: binary.BigEndian.AppendUint64(nil, uint64(s))}
}

// params reads "name/capacity/refill/period"; a name holds no slash.
func params(value types.AttributeValue, into *ratelimit.Params) error {
	text, ok := value.(*types.AttributeValueMemberS)
	if !ok {
		return errors.New("is not a text")
	}
	bad := errors.New("is not NAME/CAPACITY/REFILL/PERIOD")
	name, rest, ok := strings.Cut(text.Value, "/")
	if !ok {
		return bad
	}
	var n [3]int64
	for i := range n {
		var part string
		part, rest, ok = strings.Cut(rest, "/")
		v, err := strconv.ParseInt(part, 10, 64)
		if err != nil || ok == (i == 2) {
			return bad
		}
		n[i] = v
	}
	if n[1] <= 0 || n[2] <= 0 {
		return bad
	}
	*into = ratelimit.Params{
		Name: name, Capacity: ratelimit.Millitokens(n[0]),
		Refill: ratelimit.Continuous{Amount: ratelimit.Millitokens(n[1]), Period: n[2]},
	}
	return nil
}

// paramsText is the form that params reads.
func paramsText(p *ratelimit.Params) (string, error) {
	c, ok := p.Refill.(ratelimit.Continuous)
	if !ok {
		return "", errors.New("a refill of a kind that items have no form for")
	}
	b := make([]byte, 0, len(p.Name)+3*20)
	b = append(append(b, p.Name...), '/')
	b = append(strconv.AppendInt(b, int64(p.Capacity), 10), '/')
	b = append(strconv.AppendInt(b, int64(c.Amount), 10), '/')
	return string(strconv.AppendInt(b, c.Period, 10)), nil
}
