package dynamostore

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// Info is what can be seen of a table from outside.
type Info struct {
	Status    string // ACTIVE and the like
	Items     int64  // as DynamoDB counted them, some hours ago
	Bytes     int64  // the same
	Protected bool   // from being deleted
	// Schema is the version of its layout; 0: no program has opened it yet.
	Schema int64
	// Latency is that of one strongly consistent read.
	Latency time.Duration
}

// Inspect looks at a table, and changes nothing; of c it uses AWS, Table and
// EndpointURL. The error is a [*TableError] where the table is not there, not
// allowed or another program's.
func Inspect(ctx context.Context, c Config) (Info, error) {
	s := &Store{table: c.Table, now: time.Now, transport: newTransport(1)}
	defer s.transport.CloseIdleConnections()
	_, s.others = newClients(&c, s.transport) //nolint:contextcheck // to find out an endpoint's URL takes no time
	out, err := s.others.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &s.table})
	if err != nil {
		return Info{}, s.opening("looking at the table", err)
	}
	t := out.Table
	info := Info{
		Status: string(t.TableStatus), Items: aws.ToInt64(t.ItemCount), Bytes: aws.ToInt64(t.TableSizeBytes),
		Protected: aws.ToBool(t.DeletionProtectionEnabled),
	}
	if err := s.checkKeys(t); err != nil {
		return info, err
	}
	begin := time.Now()
	found, _, err := s.readSchema(ctx)
	info.Latency, info.Schema = time.Since(begin), found.version
	return info, err
}
