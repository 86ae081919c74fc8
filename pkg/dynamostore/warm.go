package dynamostore

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// warm opens n connections by as many reads at a time. That some fail is no
// fault: the next call opens its own.
func (s *Store) warm(ctx context.Context, n int) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { s.ping(ctx) })
	}
	wg.Wait()
}

// ping is the cheapest call: an eventually consistent read of one small item.
func (s *Store) ping(ctx context.Context) {
	_, _ = s.charges.GetItem(ctx, &dynamodb.GetItemInput{TableName: &s.table, Key: primaryKey(schemaKey, schemaKey)})
}

// keepWarm pings whenever nothing else was asked for as long as every, until
// ctx ends.
func (s *Store) keepWarm(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := s.now().UnixMilli(); now-s.lastCall.Load() >= every.Milliseconds() {
			pinging, done := context.WithTimeout(ctx, s.timeout)
			s.ping(pinging)
			done()
		}
	}
}
