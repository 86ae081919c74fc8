package handler_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"

	"github.com/extauthz/extauthz/infra/aggregator/handler"
)

// surroundings are a handler with all that it writes to.
type surroundings struct {
	handler.Config
	table *dynamodb.Client
	s3    *s3.Client
	sqs   *sqs.Client
}

func newSurroundings(t *testing.T) *surroundings {
	t.Helper()
	url := startMoto(t)
	_, client, table := newStore(t, url)
	s := &surroundings{table: client}
	s.s3 = s3.NewFromConfig(awsConfig(), func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &url, true })
	s.sqs = sqs.NewFromConfig(awsConfig(), func(o *sqs.Options) { o.BaseEndpoint = &url })
	if _, err := s.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: new("archive")}); err != nil {
		t.Fatal(err)
	}
	made, err := s.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: new("dead-letters")})
	if err != nil {
		t.Fatal(err)
	}
	s.Config = handler.Config{
		DynamoDB: client, Table: table, Keep: time.Hour, S3: s.s3, Bucket: "archive",
		SQS: s.sqs, URL: *made.QueueUrl, Log: slog.New(slog.DiscardHandler),
	}
	return s
}

// letters are the dead letters, by the sequence numbers of their records.
func (s *surroundings) letters(t *testing.T) []string {
	t.Helper()
	var all []string
	for {
		out, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &s.URL, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			slices.Sort(all)
			return all
		}
		for _, m := range out.Messages {
			var l struct {
				Error  string
				Record events.DynamoDBEventRecord
			}
			if err := json.Unmarshal([]byte(*m.Body), &l); err != nil || l.Error == "" {
				t.Errorf("a letter %s (%v)", *m.Body, err)
			}
			all = append(all, l.Record.Change.SequenceNumber)
		}
	}
}

// archived are the lines of the archive, by the names of their objects.
func (s *surroundings) archived(t *testing.T) map[string][]string {
	t.Helper()
	list, err := s.s3.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: new("archive")})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, o := range list.Contents {
		got, err := s.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: new("archive"), Key: o.Key})
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(z); lines.Scan(); {
			all[*o.Key] = append(all[*o.Key], lines.Text())
		}
	}
	return all
}

// record is a record of a table's stream.
func record(sequence, name, pk, sk string, before, after map[string]events.DynamoDBAttributeValue) events.DynamoDBEventRecord {
	text := events.NewStringAttribute
	return events.DynamoDBEventRecord{EventName: name, Change: events.DynamoDBStreamRecord{
		ApproximateCreationDateTime: events.SecondsEpochTime{Time: time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)},
		Keys:                        map[string]events.DynamoDBAttributeValue{"PK": text(pk), "SK": text(sk)},
		OldImage:                    before, NewImage: after, SequenceNumber: sequence,
	}}
}

// bucket is an image of a bucket's item that was charged so often.
func bucket(charged string) map[string]events.DynamoDBAttributeValue {
	number, text := events.NewNumberAttribute, events.NewStringAttribute
	return map[string]events.DynamoDBAttributeValue{
		"born": number("1000"), "lt": number("2000"), "b1": number("5"), "c1": number(charged), "p1": text("rpm/60000/60000/60000"),
	}
}

// expired is a record of an audit event that expired.
func expired(sequence, id, event string) events.DynamoDBEventRecord {
	r := record(sequence, "REMOVE", "3q7xk2m9vd/a", id, map[string]events.DynamoDBAttributeValue{"event": events.NewStringAttribute(event)}, nil)
	r.UserIdentity = &events.DynamoDBUserIdentity{Type: "Service", PrincipalID: "dynamodb.amazonaws.com"}
	return r
}

func handle(t *testing.T, c handler.Config, records ...events.DynamoDBEventRecord) (failed string) {
	t.Helper()
	out, err := handler.New(c).Handle(t.Context(), events.DynamoDBEvent{Records: records})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.BatchItemFailures) > 0 {
		return out.BatchItemFailures[0].ItemIdentifier
	}
	return ""
}

func TestPoisonHoldsUpNobody(t *testing.T) {
	s := newSurroundings(t)
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	_, err := s.table.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &s.Table, Item: map[string]types.AttributeValue{
		"PK": text("id"), "SK": text("namespace"), "name": text("default"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	timeless := record("4", "MODIFY", "id/e/user", "b/gpt-4", nil, bucket("1000"))
	timeless.Change.ApproximateCreationDateTime = events.SecondsEpochTime{}
	keyless := record("5", "MODIFY", "", "", nil, nil)
	keyless.Change.Keys = nil
	huge := bucket("x")
	huge["more"] = events.NewStringAttribute(strings.Repeat("x", 300_000))
	failed := handle(t, s.Config,
		record("1", "INSERT", "id/e/user", "b/gpt-4", nil, bucket("1000")),
		record("2", "MODIFY", "id/e/user", "b/gpt-4", bucket("1000"), bucket("x")),
		record("3", "MODIFY", "id", "b/gpt-4", nil, bucket("1000")),
		timeless, keyless,
		record("6", "MODIFY", "id/e/user", "b/gpt-4", nil, huge),
		expired("7", "01A", "no JSON"),
		record("8", "MODIFY", "id/e/user", "p", nil, map[string]events.DynamoDBAttributeValue{}),
	)
	if failed != "" {
		t.Errorf("%s must come again", failed)
	}
	if diff := cmp.Diff([]string{"2", "3", "4", "5", "6", "7"}, s.letters(t)); diff != "" {
		t.Errorf("dead letters:\n%s", diff)
	}
	item, err := s.table.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &s.Table, Key: map[string]types.AttributeValue{
		"PK": text("id/u/user"), "SK": text("2026-11-25T10/gpt-4"),
	}})
	if err != nil || len(item.Item) == 0 {
		t.Errorf("what was sound wasn't counted (%v)", err)
	}
}

// broken is a queue that is out of reach.
type broken struct{}

func (broken) SendMessage(context.Context, *sqs.SendMessageInput, ...func(*sqs.Options)) (*sqs.SendMessageOutput, error) {
	return nil, errFlaky
}

func (broken) PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	return nil, errFlaky
}

func (broken) GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	return nil, errFlaky
}

func (broken) UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return nil, errors.New("not reached")
}

func TestTheFirstOutOfReachComesAgain(t *testing.T) {
	event := expired("3", "01A", `{"at":"2026-08-01T00:00:00Z"}`)
	poison := record("2", "MODIFY", "id", "b/gpt-4", nil, bucket("1000"))
	counted := record("1", "MODIFY", "id/e/user", "b/gpt-4", nil, bucket("1000"))
	useless := record("0", "MODIFY", "id/e/user", "b/gpt-4", bucket("1000"), bucket("1000"))
	c := handler.Config{
		DynamoDB: broken{}, S3: broken{}, Bucket: "archive", SQS: broken{}, URL: "queue",
		Log: slog.New(slog.DiscardHandler),
	}
	for _, x := range []struct {
		records []events.DynamoDBEventRecord
		want    string
	}{
		{[]events.DynamoDBEventRecord{useless, counted, poison, event}, "1"},
		{[]events.DynamoDBEventRecord{useless, poison, event}, "2"},
		{[]events.DynamoDBEventRecord{useless, event}, "3"},
		{[]events.DynamoDBEventRecord{event, counted}, "3"},
		{[]events.DynamoDBEventRecord{useless}, ""},
		{nil, ""},
	} {
		if got := handle(t, c, x.records...); got != x.want {
			t.Errorf("%q must come again, want %q", got, x.want)
		}
	}
}

func TestExpiredEventsAreArchived(t *testing.T) {
	s := newSurroundings(t)
	first := expired("1", "01A", `{"id":"01A","at":"2026-08-01T23:59:59Z", "action":"set\nlimits"}`)
	second := expired("2", "01B", `{"id":"01B","at":"2026-08-02T00:00:00+01:00"}`)
	third := expired("3", "01C", `{"id":"01C","at":"2026-08-02T00:00:00Z"}`)
	purged := expired("4", "01D", `{"id":"01D","at":"2026-08-02T00:00:00Z"}`)
	purged.UserIdentity = nil
	bucketGone := expired("5", "b/gpt-4", "no event")
	bucketGone.Change.Keys["PK"] = events.NewStringAttribute("3q7xk2m9vd/e/user")

	entityA := expired("6", "b/gpt-4", "no event")
	entityA.Change.Keys["PK"] = events.NewStringAttribute("3q7xk2m9vd/e/a") // ends as an event's

	for range 2 { // told again, it is the same
		if failed := handle(t, s.Config, first, second, third, purged, bucketGone, entityA); failed != "" {
			t.Fatalf("%s must come again", failed)
		}
	}
	got := map[string][]string{}
	for name, lines := range s.archived(t) {
		day, file, _ := strings.Cut(strings.TrimPrefix(name, "audit/3q7xk2m9vd/2026/08/"), "/")
		if !strings.HasSuffix(file, ".jsonl.gz") {
			t.Errorf("an object %s", name)
		}
		got[day] = append(got[day], lines...)
	}
	want := map[string][]string{
		"01": {`{"id":"01A","at":"2026-08-01T23:59:59Z","action":"set\nlimits"}`, `{"id":"01B","at":"2026-08-02T00:00:00+01:00"}`},
		"02": {`{"id":"01C","at":"2026-08-02T00:00:00Z"}`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("archived:\n%s", diff)
	}
	if letters := s.letters(t); len(letters) > 0 {
		t.Errorf("dead letters: %v", letters)
	}
	s.Bucket = ""
	if failed := handle(t, s.Config, first); failed != "" {
		t.Error("without an archive, an event must come again")
	}
}
