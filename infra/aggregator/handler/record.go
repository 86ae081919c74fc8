package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// key is the key of an item of the table.
type key struct{ pk, sk string }

// bucket reports whether a bucket has such a key.
func (k key) bucket() bool { return strings.HasPrefix(k.sk, "b/") }

func keyOf(r *events.DynamoDBEventRecord) (key, error) {
	pk, sk := r.Change.Keys["PK"], r.Change.Keys["SK"]
	if pk.DataType() != events.DataTypeString || sk.DataType() != events.DataTypeString {
		return key{}, fmt.Errorf("%w: it has no PK and SK", errPoison)
	}
	return key{pk.String(), sk.String()}, nil
}

// image is an image of a record as the SDK has it. What a bucket has none of is
// left out.
func image(from map[string]events.DynamoDBAttributeValue) map[string]types.AttributeValue {
	to := make(map[string]types.AttributeValue, len(from))
	for name, v := range from {
		switch v.DataType() { //nolint:exhaustive // of no use here
		case events.DataTypeNumber:
			to[name] = &types.AttributeValueMemberN{Value: v.Number()}
		case events.DataTypeString:
			to[name] = &types.AttributeValueMemberS{Value: v.String()}
		case events.DataTypeBinary:
			to[name] = &types.AttributeValueMemberB{Value: v.Binary()}
		default:
			to[name] = &types.AttributeValueMemberNULL{Value: true}
		}
	}
	return to
}

// letter is a dead letter, as it is in the queue.
type letter struct {
	Error  string                     `json:"error"`
	Record events.DynamoDBEventRecord `json:"record"`
}

// mostLetter is how large a letter may be, in bytes, with room for what SQS
// adds: 256 KiB.
const mostLetter = 250_000

// send sends a record to the dead letters: without its images where these are
// too large.
func (h *Handler) send(ctx context.Context, r *events.DynamoDBEventRecord, why error) error {
	l := letter{Error: why.Error(), Record: *r}
	text, err := json.Marshal(l)
	if err == nil && len(text) > mostLetter {
		l.Record.Change.OldImage, l.Record.Change.NewImage = nil, nil
		text, err = json.Marshal(l)
	}
	if err != nil {
		return fmt.Errorf("writing a dead letter: %w", err)
	}
	_, err = h.c.SQS.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &h.c.URL, MessageBody: new(string(text))})
	if err != nil {
		return fmt.Errorf("sending a dead letter: %w", err)
	}
	return nil
}
