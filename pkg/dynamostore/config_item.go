package dynamostore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The attributes of an item of the configuration.
const (
	attrRevision      = "rev"
	attrUpdated       = "upd" // ms since 1970
	attrDeleted       = "del" // only of a tombstone
	attrResource      = "resource"
	attrManager       = "manager"
	attrLimits        = "limits"
	attrMode          = "mode"
	attrOnUnavailable = "on_unavailable"
	attrDisplayName   = "display_name"
	attrTier          = "tier"
	attrParent        = "parent"
	attrCascade       = "cascade"
	attrMetadata      = "metadata"

	// Those of a limit, in attrLimits.
	limitName   = "name"
	limitRate   = "rate"
	limitPeriod = "period_ms"
	limitBurst  = "burst"
)

// ownAttributes are those that a change of an item sets or removes. It leaves
// alone what a newer program may have added.
var ownAttributes = []string{
	attrRevision, attrUpdated, attrDeleted, attrName, attrResource, attrManager, attrLimits, attrMode, attrOnUnavailable,
	attrDisplayName, attrTier, attrParent, attrCascade, attrMetadata,
}

// ConfigItemError is an item of the configuration that this program can't
// read: a newer one wrote it, or a hand.
type ConfigItemError struct {
	Ref       hierarchy.Ref
	Attribute string
	Reason    string
}

func (e *ConfigItemError) Error() string {
	return fmt.Sprintf("the item of %s can't be read: its attribute %s %s; if a newer version wrote it, upgrade this program", e.Ref, e.Attribute, e.Reason)
}

// configKey is where an item of the configuration is. What is asked for
// together, an entity's, lies together, beside its buckets; the parts of a key
// hold no slash.
func configKey(id string, r hierarchy.Ref) item {
	switch r.Kind {
	case hierarchy.KindResource:
		return primaryKey(id+"/r/"+ratelimit.ResourceID(r.Resource), "l")
	case hierarchy.KindTier:
		return primaryKey(id+"/t/"+ratelimit.EntityID(r.Name), "l")
	case hierarchy.KindTierResource:
		return primaryKey(id+"/t/"+ratelimit.EntityID(r.Name), "l/"+ratelimit.ResourceID(r.Resource))
	case hierarchy.KindEntity:
		return primaryKey(id+"/e/"+ratelimit.EntityID(r.Name), "p")
	case hierarchy.KindEntityDefault:
		return primaryKey(id+"/e/"+ratelimit.EntityID(r.Name), "l")
	case hierarchy.KindEntityResource:
		return primaryKey(id+"/e/"+ratelimit.EntityID(r.Name), "l/"+ratelimit.ResourceID(r.Resource))
	default:
		return primaryKey(id+"/s", "l")
	}
}

// keyText is a primary key as one text, to look items up by.
func keyText(it item) string {
	pk, _ := textOf(it, attrPK)
	sk, _ := textOf(it, attrSK)
	return pk + " " + sk
}

// configAttributes are an item's attributes without its key. What it doesn't
// say has none.
func configAttributes(i *hierarchy.Item) item {
	it := item{attrRevision: numberValue(i.Revision), attrUpdated: numberValue(i.UpdatedAt.UnixMilli())}
	set := func(attribute, value string) {
		if value != "" {
			it[attribute] = rawValue(value)
		}
	}
	set(attrName, i.Ref.Name)
	set(attrResource, i.Ref.Resource)
	set(attrManager, i.Manager)
	set(attrMode, i.Level.Mode.String())
	set(attrOnUnavailable, i.Level.OnUnavailable.String())
	set(attrDisplayName, i.Profile.DisplayName)
	set(attrTier, i.Profile.Tier)
	set(attrParent, i.Profile.Parent)
	if i.Deleted {
		it[attrDeleted] = &types.AttributeValueMemberBOOL{Value: true}
	}
	if i.Profile.Cascade {
		it[attrCascade] = &types.AttributeValueMemberBOOL{Value: true}
	}
	if len(i.Level.Limits) > 0 {
		it[attrLimits] = limitsValue(i.Level.Limits)
	}
	if len(i.Profile.Metadata) > 0 {
		m := make(item, len(i.Profile.Metadata))
		for k, v := range i.Profile.Metadata {
			m[k] = &types.AttributeValueMemberS{Value: v}
		}
		it[attrMetadata] = &types.AttributeValueMemberM{Value: m}
	}
	return it
}

func limitsValue(limits []ratelimit.Limit) types.AttributeValue {
	list := make([]types.AttributeValue, len(limits))
	for i, l := range limits {
		list[i] = &types.AttributeValueMemberM{Value: item{
			limitName: &types.AttributeValueMemberS{Value: l.Name}, limitRate: numberValue(l.Rate),
			limitPeriod: numberValue(int64(l.Period / time.Millisecond)), limitBurst: numberValue(l.Burst),
		}}
	}
	return &types.AttributeValueMemberL{Value: list}
}

func numberValue(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// rawValue is a raw value, which may hold any bytes: a text where it can be
// one, so that people can read it.
func rawValue(s string) types.AttributeValue {
	if utf8.ValidString(s) {
		return &types.AttributeValueMemberS{Value: s}
	}
	return &types.AttributeValueMemberB{Value: []byte(s)}
}

// decodeConfig reads an item of the configuration; one that is not there says
// nothing, at revision 0. The error is a [*ConfigItemError].
func decodeConfig(r hierarchy.Ref, it item) (hierarchy.Item, error) {
	i := hierarchy.Item{Ref: r}
	for _, name := range slices.Sorted(maps.Keys(it)) {
		if err := decodeConfigAttribute(&i, name, it[name]); err != nil {
			return hierarchy.Item{}, &ConfigItemError{Ref: r, Attribute: name, Reason: err.Error()}
		}
	}
	if len(it) > 0 && i.Revision < 1 {
		return hierarchy.Item{}, &ConfigItemError{Ref: r, Attribute: attrRevision, Reason: "is missing"}
	}
	return i, nil
}

func decodeConfigAttribute(i *hierarchy.Item, name string, value types.AttributeValue) error {
	switch name {
	case attrRevision:
		return number(value, &i.Revision)
	case attrUpdated:
		return moment(value, &i.UpdatedAt)
	case attrDeleted:
		return boolean(value, &i.Deleted)
	case attrManager:
		return rawText(value, &i.Manager)
	case attrLimits:
		return limits(value, &i.Level.Limits)
	case attrMode:
		return mode(value, &i.Level.Mode)
	case attrOnUnavailable:
		return fallback(value, &i.Level.OnUnavailable)
	case attrDisplayName:
		return rawText(value, &i.Profile.DisplayName)
	case attrTier:
		return rawText(value, &i.Profile.Tier)
	case attrParent:
		return rawText(value, &i.Profile.Parent)
	case attrCascade:
		return boolean(value, &i.Profile.Cascade)
	case attrMetadata:
		return metadata(value, &i.Profile.Metadata)
	}
	return nil
}

func moment(value types.AttributeValue, into *time.Time) error {
	var ms int64
	if err := number(value, &ms); err != nil {
		return err
	}
	*into = time.UnixMilli(ms).UTC()
	return nil
}

func boolean(value types.AttributeValue, into *bool) error {
	b, ok := value.(*types.AttributeValueMemberBOOL)
	if !ok {
		return errors.New("is not a boolean")
	}
	*into = b.Value
	return nil
}

func rawText(value types.AttributeValue, into *string) error {
	switch v := value.(type) {
	case *types.AttributeValueMemberS:
		*into = v.Value
	case *types.AttributeValueMemberB:
		*into = string(v.Value)
	default:
		return errors.New("is neither text nor bytes")
	}
	return nil
}

func mode(value types.AttributeValue, into *ratelimit.Mode) error {
	var text string
	if err := rawText(value, &text); err != nil {
		return err
	}
	var ok bool
	if *into, ok = ratelimit.ParseMode(text); !ok {
		return fmt.Errorf("says %q", text)
	}
	return nil
}

func fallback(value types.AttributeValue, into *ratelimit.Fallback) error {
	var text string
	if err := rawText(value, &text); err != nil {
		return err
	}
	var ok bool
	if *into, ok = ratelimit.ParseFallback(text); !ok {
		return fmt.Errorf("says %q", text)
	}
	return nil
}

func metadata(value types.AttributeValue, into *map[string]string) error {
	m, ok := value.(*types.AttributeValueMemberM)
	if !ok {
		return errors.New("is not a map")
	}
	*into = make(map[string]string, len(m.Value))
	for k, v := range m.Value {
		var text string
		if err := rawText(v, &text); err != nil {
			return fmt.Errorf("has %q, which %w", k, err)
		}
		(*into)[k] = text
	}
	return nil
}

func limits(value types.AttributeValue, into *[]ratelimit.Limit) error {
	list, ok := value.(*types.AttributeValueMemberL)
	if !ok {
		return errors.New("is not a list")
	}
	for _, v := range list.Value {
		m, ok := v.(*types.AttributeValueMemberM)
		if !ok {
			return errors.New("holds what is not a map")
		}
		var l ratelimit.Limit
		var ms int64
		err := errors.Join(rawText(m.Value[limitName], &l.Name), number(m.Value[limitRate], &l.Rate),
			number(m.Value[limitPeriod], &ms), number(m.Value[limitBurst], &l.Burst))
		if err != nil {
			return errors.New("holds a limit without name, rate, period_ms or burst")
		}
		l.Period = time.Duration(ms) * time.Millisecond
		if err := l.Validate(); err != nil {
			return fmt.Errorf("holds a wrong limit: %w", err)
		}
		*into = append(*into, l)
	}
	return nil
}

// written is an update that makes an item of the configuration what i says, and
// leaves alone the attributes that this program doesn't know.
func written(table string, key item, i *hierarchy.Item) *types.Update {
	attributes := configAttributes(i)
	u := &types.Update{
		TableName: &table, Key: key,
		ExpressionAttributeNames: map[string]string{}, ExpressionAttributeValues: item{},
	}
	var set, remove []string
	for n, name := range ownAttributes {
		hash, colon := "#"+strconv.Itoa(n), ":"+strconv.Itoa(n)
		u.ExpressionAttributeNames[hash] = name
		if value, ok := attributes[name]; ok {
			set = append(set, hash+" = "+colon)
			u.ExpressionAttributeValues[colon] = value
		} else {
			remove = append(remove, hash)
		}
	}
	text := "SET " + strings.Join(set, ", ")
	if len(remove) > 0 {
		text += " REMOVE " + strings.Join(remove, ", ")
	}
	u.UpdateExpression = &text
	return u
}
