package dynamostore

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
	"github.com/extauthz/extauthz/pkg/usage"
)

// The usage of an entity's buckets, by hours. The aggregator writes it from the
// table's stream:
//
//	PK 3q7xk2m9vd/u/user-123   SK 2026-11-25T10/gpt-4
//	used {"28292400000/1": "rpm/0-3000,5000-6000/0-1000/0"}   n 7   ttl
//
// used has what usage.Account has, by birth and slot: name, charged, returned,
// debt. n is raised by each write, so that none is lost to another.
//
// Beside it, whose usage a day has, in a few parts so that no partition takes
// all of it:
//
//	PK 3q7xk2m9vd/d/2026-11-25/3   SK user-123   ttl
const (
	attrUsed = "used"
	attrTold = "n"

	kindUsage = "/u/"
	kindDay   = "/d/"

	dayParts = 8
)

// UsageKey is where the usage of one bucket in one hour is kept. Its parts are
// encoded, as in keys of buckets. UsageKeys are comparable.
type UsageKey struct {
	NamespaceID string
	EntityID    string
	ResourceID  string
	Variant     string // empty for the usual bucket: see ratelimit.NewKey
	Hour        usage.Hour
}

func (k *UsageKey) item() item {
	sk := k.Hour.String() + "/" + k.ResourceID
	if k.Variant != "" {
		sk += "/" + k.Variant
	}
	return primaryKey(k.NamespaceID+kindUsage+k.EntityID, sk)
}

// dayKey is a part of those whose usage a day has.
func dayKey(namespaceID string, day usage.Hour, part uint32) string {
	return namespaceID + kindDay + day.Start().Format(time.DateOnly) + "/" + strconv.FormatUint(uint64(part), 10)
}

// UsageWithin is how long the first write of an hour may take from the
// beginning of the look at the namespace ([UsageNamespace]) that comes before
// it: a purge waits for so long, and then finds all.
const UsageWithin = 3 * time.Second

// UsageNamespace is the request that reads whether a namespace is still there,
// for [UsageGoes].
func UsageNamespace(table string, k *UsageKey) *dynamodb.GetItemInput {
	return &dynamodb.GetItemInput{TableName: &table, Key: headKey(k.NamespaceID), ConsistentRead: new(true)}
}

// UsageGoes reports whether the namespace of an item was purged or is about to
// be: nothing more is to be written of its usage.
func UsageGoes(it map[string]types.AttributeValue) bool {
	state, ok := it[attrState].(*types.AttributeValueMemberS)
	return len(it) == 0 || ok && state.Value == hierarchy.NamespacePurging.String()
}

// UsageEnter is the request that enters the entity of a key among those whose
// usage its day has, to be kept so long after the day. It comes before the first
// write of an hour; again it changes nothing.
func UsageEnter(table string, k *UsageKey, keep time.Duration) *dynamodb.UpdateItemInput {
	until := usage.Daily.Add(k.Hour, 1).Start().Add(keep)
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(k.EntityID)) // it never fails
	return &dynamodb.UpdateItemInput{
		TableName: &table, Key: primaryKey(dayKey(k.NamespaceID, k.Hour, hash.Sum32()%dayParts), k.EntityID),
		UpdateExpression:          new("SET #t = :t"),
		ExpressionAttributeNames:  map[string]string{"#t": attrTTL},
		ExpressionAttributeValues: item{":t": numberValue(until.Unix())},
	}
}

// UsageOf is what a change of a bucket's item says of the hour of at, which is
// when DynamoDB says that the change was made. before and after are the item's
// images, empty where there was none. The error says that this is no bucket, or
// one that can't be read.
func UsageOf(pk, sk string, before, after map[string]types.AttributeValue, at time.Time) (UsageKey, usage.Account, error) {
	k := UsageKey{Hour: usage.HourOf(at)}
	var ok bool
	if k.NamespaceID, k.EntityID, ok = strings.Cut(pk, "/e/"); !ok {
		return k, nil, fmt.Errorf("%s %s is not the key of a bucket", pk, sk)
	}
	rest, ok := strings.CutPrefix(sk, "b/")
	if !ok {
		return k, nil, fmt.Errorf("%s %s is not the key of a bucket", pk, sk)
	}
	k.ResourceID, k.Variant, _ = strings.Cut(rest, "/")
	was, err := decode(ratelimit.Key{}, before)
	if err != nil {
		return k, nil, fmt.Errorf("the bucket %s %s as it was: %w", pk, sk, err)
	}
	is, err := decode(ratelimit.Key{}, after)
	if err != nil {
		return k, nil, fmt.Errorf("the bucket %s %s: %w", pk, sk, err)
	}
	return k, usage.Of(was, is), nil
}

// UsageRead is the request that reads the usage of a bucket in an hour.
func UsageRead(table string, k *UsageKey) *dynamodb.GetItemInput {
	return &dynamodb.GetItemInput{TableName: &table, Key: k.item(), ConsistentRead: new(true)}
}

// UsageWrite is the request that writes it, to be kept until a time, over what
// had the version that [DecodeUsage] said. It fails its condition when another
// was faster: read again, merge, and write.
func UsageWrite(table string, k *UsageKey, a usage.Account, version int64, until time.Time) *dynamodb.UpdateItemInput {
	used := make(item, len(a))
	for id, g := range a {
		name := strconv.FormatInt(int64(id.Born), 10) + "/" + strconv.Itoa(id.Slot)
		used[name] = textValue(strings.Join([]string{
			g.Name, g.Charged.String(), g.Returned.String(), strconv.FormatInt(int64(g.Debt), 10),
		}, "/"))
	}
	in := &dynamodb.UpdateItemInput{
		TableName: &table, Key: k.item(),
		ConditionExpression:       new(notThere),
		UpdateExpression:          new("SET #u = :u, #n = :n, #t = :t"),
		ExpressionAttributeNames:  map[string]string{"#u": attrUsed, "#n": attrTold, "#t": attrTTL},
		ExpressionAttributeValues: item{":u": &types.AttributeValueMemberM{Value: used}, ":n": numberValue(version + 1), ":t": numberValue(until.Unix())},
	}
	if version > 0 {
		in.ConditionExpression = new("#n = :was")
		in.ExpressionAttributeValues[":was"] = numberValue(version)
	}
	return in
}

// errUsage is an item of usage that isn't in the form above.
var errUsage = errors.New("is not BORN/SLOT: NAME/CHARGED/RETURNED/DEBT")

// DecodeUsage reads an item of usage. One that is empty has version 0.
func DecodeUsage(it map[string]types.AttributeValue) (usage.Account, int64, error) {
	a := usage.Account{}
	if len(it) == 0 {
		return a, 0, nil
	}
	var version int64
	if err := number(it[attrTold], &version); err != nil {
		return nil, 0, fmt.Errorf("an item of usage: its %s %w", attrTold, err)
	}
	used, ok := it[attrUsed].(*types.AttributeValueMemberM)
	if !ok {
		return nil, 0, fmt.Errorf("an item of usage: its %s %w", attrUsed, errUsage)
	}
	for name, value := range used.Value {
		id, g, err := decodeGrowth(name, value)
		if err != nil {
			return nil, 0, fmt.Errorf("an item of usage: its %s: %w", attrUsed, err)
		}
		a[id] = g
	}
	return a, version, nil
}

func decodeGrowth(name string, value types.AttributeValue) (id usage.ID, g usage.Growth, err error) {
	text, ok := value.(*types.AttributeValueMemberS)
	if !ok {
		return id, g, errUsage
	}
	born, slot, _ := strings.Cut(name, "/")
	parts := strings.Split(text.Value, "/")
	if len(parts) < 4 {
		return id, g, errUsage
	}
	stamp, err := strconv.ParseInt(born, 10, 64)
	if err != nil {
		return id, g, errUsage
	}
	id.Born = ratelimit.Stamp(stamp)
	if id.Slot, err = strconv.Atoi(slot); err != nil {
		return id, g, errUsage
	}
	g.Name = parts[0]
	if g.Charged, err = usage.ParseSpans(parts[1]); err != nil {
		return id, g, fmt.Errorf("what was charged: %w", err)
	}
	if g.Returned, err = usage.ParseSpans(parts[2]); err != nil {
		return id, g, fmt.Errorf("what was returned: %w", err)
	}
	debt, err := strconv.ParseInt(parts[3], 10, 64)
	if err != nil {
		return id, g, errUsage
	}
	g.Debt = ratelimit.Millitokens(debt)
	return id, g, nil
}
