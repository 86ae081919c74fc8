package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

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
const (
	attrUsed = "used"
	attrTold = "n"

	kindUsage = "/u/"
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

// Used is what one bucket of an entity used in an hour, by the names of limits.
type Used struct {
	UsageKey
	Totals map[string]usage.Totals
}

// Usage is what an entity's buckets used from one hour until before another, in
// the order of time: nothing where there was no change, or where no aggregator
// counts. It is behind by the aggregator's batch window and some seconds. It
// reads a unit for each 4 KB, 20 hours of a bucket or so.
//
// The error matches [hierarchy.ErrUnknownNamespace] where the namespace is
// unknown.
func (s *Store) Usage(ctx context.Context, namespace, entity string, from, to usage.Hour) ([]Used, error) {
	id, err := s.adminID(ctx, namespace)
	if err != nil {
		return nil, err
	}
	entityID := ratelimit.EntityID(entity)
	in := &dynamodb.QueryInput{
		KeyConditionExpression: new("PK = :p AND SK BETWEEN :from AND :to"),
		ExpressionAttributeValues: item{
			// What lies in an hour sorts after the hour itself.
			":p": textValue(id + kindUsage + entityID), ":from": textValue(from.String()), ":to": textValue(to.String()),
		},
	}
	var all []Used
	for more := true; more; {
		var found []item
		if found, more, err = s.query(ctx, in); err != nil {
			return nil, fmt.Errorf("reading the usage of entity %q: %w", entity, err)
		}
		for _, it := range found {
			u, err := decodeUsed(id, entityID, it)
			if err != nil {
				return nil, fmt.Errorf("reading the usage of entity %q: %w", entity, err)
			}
			all = append(all, u)
			in.ExclusiveStartKey = item{attrPK: it[attrPK], attrSK: it[attrSK]}
		}
	}
	return all, nil
}

func decodeUsed(namespaceID, entityID string, it item) (Used, error) {
	u := Used{UsageKey: UsageKey{NamespaceID: namespaceID, EntityID: entityID}}
	sk, err := textOf(it, attrSK)
	if err != nil {
		return u, err
	}
	hour, rest, _ := strings.Cut(sk, "/")
	if u.Hour, err = usage.ParseHour(hour); err != nil {
		return u, fmt.Errorf("the item %s: %w", sk, err)
	}
	u.ResourceID, u.Variant, _ = strings.Cut(rest, "/")
	account, _, err := DecodeUsage(it)
	if err != nil {
		return u, fmt.Errorf("the item %s: %w", sk, err)
	}
	u.Totals = account.Totals()
	return u, nil
}
