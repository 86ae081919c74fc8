package dynamostore

import (
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// expressions is a write as DynamoDB understands it. Each value stands in it
// once, whatever uses it: DynamoDB refuses values that nothing uses.
type expressions struct {
	cond, set, remove, add []byte

	values  map[string]types.AttributeValue
	numbers []int64 // by the number of their placeholder
	named   [2]bool // whether `at` and `ttl`, which are reserved words, are used
	shape   string  // the placeholder of the shape in the condition
	present bool    // the condition is false for an absent item
}

const (
	nameAt  = "#a"
	nameTTL = "#t"

	// noNumber stands in numbers for a placeholder that is something else; as a
	// number it is none that a write has twice for good reason.
	noNumber = -1<<63 + 1
)

// expressionsOf writes a write down; what comes of it must be what
// ratelimit.Write.Execute says.
func expressionsOf(w *ratelimit.Write) (*expressions, error) {
	e := &expressions{values: make(map[string]types.AttributeValue, 8+4*len(w.Limits))}
	e.condition(w)
	if err := e.update(w); err != nil {
		return nil, fmt.Errorf("writing down a write of bucket %s: %w", w.Key.ID(), err)
	}
	return e, nil
}

// condition is that of a bucket that is present, or'ed with its absence.
func (e *expressions) condition(w *ratelimit.Write) {
	if w.Same {
		e.holds(attrV, " = ", e.number(w.Revision))
		e.shape = e.value(shapeValue(w.Shape))
		e.holds(attrShape, " = ", e.shape)
	}
	if w.BornIs != nil {
		e.holds(attrBorn, " = ", e.number(int64(*w.BornIs)))
	}
	if w.AtMost != nil {
		e.holds(e.at(), " <= ", e.number(int64(*w.AtMost)))
	}
	if w.TTLMin != 0 {
		e.holds(e.ttl(), " >= ", e.number(w.TTLMin))
	}
	for i := range w.Limits {
		e.bounds(&w.Limits[i])
	}
	if w.TTLBelow != 0 {
		t := e.ttl()
		e.term("(attribute_not_exists(", t, ") OR ", t, " < ", e.number(w.TTLBelow), ")")
	}
	switch {
	case w.OrAbsent && len(e.cond) > 0: // AND binds closer; DynamoDB refuses parentheses that it can do without
		e.cond = append([]byte("attribute_not_exists(PK) OR "), e.cond...)
	case !w.OrAbsent && !e.present:
		e.term("attribute_exists(PK)")
	}
}

func (e *expressions) bounds(l *ratelimit.LimitWrite) {
	b := attribute(prefixBalance, l.Slot)
	switch least, most := l.Min != ratelimit.NoMin, l.Max != ratelimit.NoMax; {
	case least && most && l.Min <= l.Max:
		e.holds(b, " BETWEEN ", e.number(int64(l.Min)), " AND ", e.number(int64(l.Max)))
	case least && most: // DynamoDB refuses a BETWEEN that is never true
		e.holds(b, " >= ", e.number(int64(l.Min)), " AND ", b, " <= ", e.number(int64(l.Max)))
	case least:
		e.holds(b, " >= ", e.number(int64(l.Min)))
	case most:
		e.holds(b, " <= ", e.number(int64(l.Max)))
	case l.Exists:
		e.holds("attribute_exists(", b, ")")
	}
}

// holds adds a term that is false for an absent item.
func (e *expressions) holds(parts ...string) {
	e.present = true
	e.term(parts...)
}

func (e *expressions) term(parts ...string) {
	if len(e.cond) > 0 {
		e.cond = append(e.cond, " AND "...)
	}
	e.cond = appendAll(e.cond, parts)
}

func (e *expressions) update(w *ratelimit.Write) error {
	stamp := e.number(int64(w.Stamp))
	e.toSet(attrLast, " = ", stamp)
	if w.OrAbsent {
		e.toSet(attrBorn, " = if_not_exists(", attrBorn, ", ", stamp, ")")
	}
	if w.NewShape {
		e.toSet(attrV, " = ", e.number(w.NewRevision))
		e.toSet(attrShape, " = ", e.shapeOf(w))
		at, reshaped := e.at(), e.number(int64(w.Reshaped))
		if w.AtMost != nil {
			e.toSet(at, " = ", reshaped)
		} else {
			e.toSet(at, " = if_not_exists(", at, ", ", reshaped, ")")
		}
	}
	switch {
	case w.TTLRemove:
		e.remove = list(e.remove, e.ttl())
	case w.TTLSet != 0:
		e.toSet(e.ttl(), " = ", e.number(w.TTLSet))
	}
	for i := range w.Limits {
		if err := e.limit(&w.Limits[i]); err != nil {
			return err
		}
	}
	return nil
}

func (e *expressions) limit(l *ratelimit.LimitWrite) error {
	b := attribute(prefixBalance, l.Slot)
	switch l.Form {
	case ratelimit.FormAdd:
		e.toAdd(b, int64(l.Value))
	case ratelimit.FormSet:
		e.toSet(b, " = ", e.number(int64(l.Value)))
	case ratelimit.FormSetIfAbsent:
		e.toSet(b, " = if_not_exists(", b, ", ", e.number(int64(l.Value)), ")")
	case ratelimit.FormRemove:
		e.remove = list(e.remove, b)
	case ratelimit.FormKeep:
	}
	e.toAdd(attribute(prefixCharged, l.Slot), int64(l.Charged))
	e.toAdd(attribute(prefixReturned, l.Slot), int64(l.Returned))
	if l.Params != nil {
		text, err := paramsText(l.Params)
		if err != nil {
			return fmt.Errorf("limit %q: %w", l.Params.Name, err)
		}
		e.toSet(attribute(prefixParams, l.Slot), " = ", e.value(&types.AttributeValueMemberS{Value: text}))
	}
	return nil
}

func (e *expressions) toSet(parts ...string) { e.set = list(e.set, parts...) }

func (e *expressions) toAdd(name string, n int64) {
	if n != 0 {
		e.add = list(e.add, name, " ", e.number(n))
	}
}

// shapeOf is the placeholder of the new shape: that of the condition where it
// is the same.
func (e *expressions) shapeOf(w *ratelimit.Write) string {
	if w.Same && w.NewHash == w.Shape {
		return e.shape
	}
	return e.value(shapeValue(w.NewHash))
}

func (e *expressions) at() string {
	e.named[0] = true
	return nameAt
}

func (e *expressions) ttl() string {
	e.named[1] = true
	return nameTTL
}

// number is the placeholder of a number.
func (e *expressions) number(n int64) string {
	for i, m := range e.numbers {
		if m == n && n != noNumber {
			return placeholder(i)
		}
	}
	p := e.value(&types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)})
	e.numbers[len(e.numbers)-1] = n
	return p
}

// value is a new placeholder, for this value.
func (e *expressions) value(v types.AttributeValue) string {
	p := placeholder(len(e.numbers))
	e.numbers = append(e.numbers, noNumber)
	e.values[p] = v
	return p
}

// placeholders are those that cost no allocation; a write has seldom more.
const placeholders = ":a:b:c:d:e:f:g:h:i:j:k:l:m:n:o:p:q:r:s:t:u:v:w:x:y:z" +
	":A:B:C:D:E:F:G:H:I:J:K:L:M:N:O:P:Q:R:S:T:U:V:W:X:Y:Z"

func placeholder(i int) string {
	if 2*i < len(placeholders) {
		return placeholders[2*i : 2*i+2]
	}
	return ":" + strconv.Itoa(i)
}

func list(b []byte, parts ...string) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	return appendAll(b, parts)
}

func appendAll(b []byte, parts []string) []byte {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// input is the request of the write.
func (e *expressions) input(table, pk, sk string) *dynamodb.UpdateItemInput {
	in := &dynamodb.UpdateItemInput{
		TableName:                           &table,
		Key:                                 primaryKey(pk, sk),
		ExpressionAttributeValues:           e.values,
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	if len(e.cond) > 0 {
		in.ConditionExpression = new(string(e.cond))
	}
	update := make([]byte, 0, len(e.set)+len(e.remove)+len(e.add)+24)
	update = append(append(update, "SET "...), e.set...)
	if len(e.remove) > 0 {
		update = append(append(update, " REMOVE "...), e.remove...)
	}
	if len(e.add) > 0 {
		update = append(append(update, " ADD "...), e.add...)
	}
	in.UpdateExpression = new(string(update))
	if e.named[0] || e.named[1] {
		in.ExpressionAttributeNames = make(map[string]string, 2)
	}
	if e.named[0] {
		in.ExpressionAttributeNames[nameAt] = attrAt
	}
	if e.named[1] {
		in.ExpressionAttributeNames[nameTTL] = attrTTL
	}
	return in
}

func primaryKey(pk, sk string) item {
	return item{
		attrPK: &types.AttributeValueMemberS{Value: pk},
		attrSK: &types.AttributeValueMemberS{Value: sk},
	}
}
