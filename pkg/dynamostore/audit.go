package dynamostore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// The audit events of a namespace, by their ids, which are in the order of
// time:
//
//	PK 3q7xk2m9vd/a   SK 01KAXQ2W5M0000000000000700   event, ttl
//
// An event is one text of JSON, as hierarchy.Event has it: it is written once
// and never changed.
func auditKey(id string) string { return id + "/a" }

const (
	attrEvent = "event"

	// defaultKeepEvents is how long an event is kept.
	defaultKeepEvents = 90 * 24 * time.Hour
)

func (s *Store) eventItem(id string, e hierarchy.Event) (item, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("writing an audit event: %w", err)
	}
	it := primaryKey(auditKey(id), e.ID)
	it[attrEvent] = textValue(string(text))
	if s.keepEvents > 0 {
		it[attrTTL] = ttlAfter(e.At, s.keepEvents)
	}
	return it, nil
}

// Events implements hierarchy.Editor. It reads the newest events until it has
// found as many as were asked for.
func (s *Store) Events(ctx context.Context, namespace string, sel hierarchy.Selector, p hierarchy.Page) (hierarchy.EventListing, error) {
	id, err := s.adminID(ctx, namespace)
	if err != nil {
		return hierarchy.EventListing{}, err
	}
	var l hierarchy.EventListing
	last, err := p.Key()
	if err != nil {
		return hierarchy.EventListing{}, err
	}
	for range mostQueries {
		found, more, err := s.events(ctx, id, last)
		if err != nil {
			return hierarchy.EventListing{}, fmt.Errorf("listing the audit events of namespace %q: %w", namespace, err)
		}
		for i := range found {
			if len(l.Events) == p.Size() {
				l.Next = hierarchy.PageAt(last)
				return l, nil
			}
			last = found[i].ID
			if sel.Selects(found[i].Target) {
				l.Events = append(l.Events, found[i])
			}
		}
		if !more {
			return l, nil
		}
	}
	l.Next = hierarchy.PageAt(last)
	return l, nil
}

// events reads one page of events, from the one before another on; empty: from
// the newest on.
func (s *Store) events(ctx context.Context, id, before string) (events []hierarchy.Event, more bool, err error) {
	in := &dynamodb.QueryInput{
		KeyConditionExpression:    new("PK = :p"),
		ExpressionAttributeValues: item{":p": textValue(auditKey(id))},
		ScanIndexForward:          new(false), Limit: new(int32(hierarchy.DefaultPage)),
	}
	if before != "" {
		in.ExclusiveStartKey = primaryKey(auditKey(id), before)
	}
	found, more, err := s.query(ctx, in)
	if err != nil {
		return nil, false, err
	}
	events = make([]hierarchy.Event, len(found))
	for i, it := range found {
		text, err := textOf(it, attrEvent)
		if err == nil {
			err = json.Unmarshal([]byte(text), &events[i])
		}
		if err != nil {
			sk, _ := textOf(it, attrSK)
			return nil, false, fmt.Errorf("the event %s: %w", sk, err)
		}
	}
	return events, more, nil
}
