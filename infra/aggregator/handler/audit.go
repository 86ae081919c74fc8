package handler

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// day is where events of one namespace and day are kept.
type day struct {
	namespace string // its id
	date      string // 2026/11/25
}

// lines are events, each a line of JSON.
type lines struct {
	day     day
	text    []string
	records []int
}

// days are those of a batch.
type days map[day]*lines

// add takes in an audit event that has expired; what else expires is passed
// over.
func (all days) add(k key, r *events.DynamoDBEventRecord, i int) error {
	namespace, ok := strings.CutSuffix(k.pk, "/a")
	if !ok || strings.Contains(namespace, "/") { // the bucket of an entity "a", say
		return nil
	}
	text := r.Change.OldImage["event"]
	if text.DataType() != events.DataTypeString {
		return fmt.Errorf("%w: the expired event %s has no text", errPoison, k.sk)
	}
	var event struct {
		At time.Time `json:"at"`
	}
	var line bytes.Buffer
	err := json.Unmarshal([]byte(text.String()), &event)
	if err == nil {
		err = json.Compact(&line, []byte(text.String()))
	}
	if err != nil {
		return fmt.Errorf("%w: the expired event %s: %w", errPoison, k.sk, err)
	}
	d := day{namespace, event.At.UTC().Format("2006/01/02")}
	l := all[d]
	if l == nil {
		l = &lines{day: d}
		all[d] = l
	}
	l.text = append(l.text, line.String())
	l.records = append(l.records, i)
	return nil
}

// keep puts the events of a batch into the archive.
func (h *Handler) keep(ctx context.Context, b *batch) {
	each(slices.Collect(maps.Values(b.days)), func(l *lines) {
		if err := h.put(ctx, l); err != nil {
			b.fail(l.records, err)
		}
	})
}

// put writes one object. Its name follows from what it holds: a batch that
// comes again makes the same one, and none is ever written over by another.
func (h *Handler) put(ctx context.Context, l *lines) error {
	text := strings.Join(l.text, "\n") + "\n"
	sum := sha256.Sum256([]byte(text))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(text)); err != nil {
		return fmt.Errorf("packing audit events: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("packing audit events: %w", err)
	}
	_, err := h.c.S3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &h.c.Bucket, Body: bytes.NewReader(packed.Bytes()),
		Key:         new("audit/" + l.day.namespace + "/" + l.day.date + "/" + hex.EncodeToString(sum[:16]) + ".jsonl.gz"),
		ContentType: new("application/gzip"),
	})
	if err != nil {
		return fmt.Errorf("putting audit events into the archive: %w", err)
	}
	return nil
}
