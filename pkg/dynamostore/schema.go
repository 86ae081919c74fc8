package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// SchemaVersion is the layout that this package writes and reads. A table holds
// the version of its layout, in one item:
//
//	PK schema   SK schema   version 1   next 2
//
// next is there while the table is being brought to it: see [Store.Upgrade]. A
// program of version N works on tables of N and of N-1. One that is older than
// version or next refuses: to open the table, and, within seconds, all that it
// was doing on it.
const SchemaVersion = 1

const (
	schemaKey   = "schema" // both keys of its item; no namespace has such an id
	attrVersion = "version"
	attrNext    = "next"
)

// layout is a version of how a table is laid out.
type layout struct {
	version int64
	// upgrade rewrites what was written by the version before. It may be called
	// again after it failed, and nobody else rewrites the same then; charges go on
	// meanwhile. nil: there is nothing to rewrite.
	upgrade func(context.Context, *Store) error
}

// current is the layout of this program.
func current() layout { return layout{version: SchemaVersion} }

// schema is what a table says of its layout.
type schema struct{ version, next int64 }

// decodeSchema reads its item.
func (s *Store) decodeSchema(it item) (found schema, err error) {
	if err := number(it[attrVersion], &found.version); err != nil {
		return found, &TableError{Table: s.table, Problem: ProblemSchema, Detail: "its version " + err.Error()}
	}
	if it[attrNext] != nil {
		if err := number(it[attrNext], &found.next); err != nil {
			return found, &TableError{Table: s.table, Problem: ProblemSchema, Detail: "its next version " + err.Error()}
		}
	}
	return found, nil
}

// readSchema reads what the table says of its layout; ok is false where it says
// nothing.
func (s *Store) readSchema(ctx context.Context) (found schema, ok bool, err error) {
	out, err := s.others.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &s.table, Key: primaryKey(schemaKey, schemaKey), ConsistentRead: new(true),
	})
	if err != nil {
		return found, false, s.opening("reading the version of the layout of the table", err)
	}
	if len(out.Item) == 0 {
		return found, false, nil
	}
	found, err = s.decodeSchema(out.Item)
	return found, true, err
}

// fits is the error of a table whose layout this program can't work with.
func (s *Store) fits(found schema) error {
	knows := s.layout.version
	switch newest := max(found.version, found.next); {
	case newest > knows:
		detail := fmt.Sprintf("its layout has version %d, this program knows %d", newest, knows)
		return &TableError{Table: s.table, Problem: ProblemSchema, Detail: detail}
	case found.version < knows-1:
		detail := fmt.Sprintf("its layout has version %d, this program knows %d and %d", found.version, knows-1, knows)
		return &TableError{Table: s.table, Problem: ProblemOutdated, Detail: detail}
	}
	return nil
}

// checkSchema checks the version of the table's layout. The first program to
// open a table writes its own, before anything else: a table that had items
// before and has no version is another program's, and nothing is written to it.
// (DynamoDB counts a table's items every six hours or so: one that was filled
// since isn't known by that.)
func (s *Store) checkSchema(ctx context.Context, items int64) error {
	found, ok, err := s.readSchema(ctx)
	switch {
	case err != nil:
		return err
	case ok:
		return s.fits(found)
	case items > 0:
		return &TableError{Table: s.table, Problem: ProblemForeign}
	}
	it := primaryKey(schemaKey, schemaKey)
	it[attrVersion] = numberValue(s.layout.version)
	_, err = s.others.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.table, Item: it,
		ConditionExpression:                 new("attribute_not_exists(PK)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	var there *types.ConditionalCheckFailedException
	if errors.As(err, &there) {
		if found, err = s.decodeSchema(there.Item); err == nil {
			err = s.fits(found)
		}
		return err
	}
	if err != nil {
		return s.opening("writing the version of the layout of the table", err)
	}
	return nil
}

// recheckSchema looks whether the table is being brought to a layout that this
// program doesn't know: from then on it does nothing on it any more.
func (s *Store) recheckSchema(ctx context.Context) {
	found, ok, err := s.readSchema(ctx)
	if err != nil || !ok {
		return // the next time
	}
	var newer *TableError
	if errors.As(s.fits(found), &newer) {
		s.left.Store(newer)
	}
}

// leaves is the error of a store that does nothing on its table any more.
func (s *Store) leaves() error {
	if newer := s.left.Load(); newer != nil {
		return newer
	}
	return nil
}

// Upgrade brings the table to the layout of this program, while services go on:
// those of this version, and for some seconds those of the one before, which
// then refuse what they are asked for. It does nothing where the table has that
// layout. One that was interrupted, or failed, is called again.
//
// First it announces the version, and waits for 15 seconds until every program
// has seen that; then it rewrites what has to be, each item in one conditional
// write; then it says that it is done. It takes the rights to administer.
func (s *Store) Upgrade(ctx context.Context) error {
	found, _, err := s.readSchema(ctx)
	if err == nil {
		err = s.fits(found)
	}
	if err != nil || found.version == s.layout.version {
		return err
	}
	if err := s.setSchema(ctx, "SET #n = :to", "#v = :from"); err != nil {
		return err
	}
	timer := time.NewTimer(s.settled)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return fmt.Errorf("waiting until every program has seen that the table is upgraded: %w", ctx.Err())
	}
	if s.layout.upgrade != nil {
		if err := s.layout.upgrade(ctx, s); err != nil {
			return fmt.Errorf("upgrading the table %q to layout %d: %w", s.table, s.layout.version, err)
		}
	}
	return s.setSchema(ctx, "SET #v = :to REMOVE #n", "#v = :from AND #n = :to")
}

// setSchema changes what the table says of its layout. Another program may have
// done it at the same time.
func (s *Store) setSchema(ctx context.Context, update, condition string) error {
	_, err := s.others.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &s.table, Key: primaryKey(schemaKey, schemaKey),
		UpdateExpression: &update, ConditionExpression: &condition,
		ExpressionAttributeNames:            map[string]string{"#v": attrVersion, "#n": attrNext},
		ExpressionAttributeValues:           item{":from": numberValue(s.layout.version - 1), ":to": numberValue(s.layout.version)},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	var other *types.ConditionalCheckFailedException
	if errors.As(err, &other) {
		found, err := s.decodeSchema(other.Item)
		if err == nil && found.version != s.layout.version {
			err = fmt.Errorf("upgrading the table %q to layout %d: it has %d by now", s.table, s.layout.version, found.version)
		}
		return err
	}
	if err != nil {
		return s.opening("writing the version of the layout of the table", err)
	}
	return nil
}
