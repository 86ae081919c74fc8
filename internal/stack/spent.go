package stack

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// metrics is what is used of CloudWatch.
type metrics interface {
	GetMetricStatistics(context.Context, *cloudwatch.GetMetricStatisticsInput, ...func(*cloudwatch.Options)) (*cloudwatch.GetMetricStatisticsOutput, error)
}

// Spent is what the table has consumed in a day.
type Spent struct{ WriteUnits, ReadUnits float64 }

const day = 24 * time.Hour

// spent asks CloudWatch for the last day; nil: it knows of nothing, as of a
// table that is new.
func (s *Stack) spent(ctx context.Context) (*Spent, error) {
	writes, known, err := s.sum(ctx, "ConsumedWriteCapacityUnits")
	if err != nil {
		return nil, err
	}
	reads, knownToo, err := s.sum(ctx, "ConsumedReadCapacityUnits")
	if err != nil || !known && !knownToo {
		return nil, err
	}
	return &Spent{writes, reads}, nil
}

func (s *Stack) sum(ctx context.Context, metric string) (sum float64, known bool, err error) {
	now := time.Now()
	out, err := s.metrics.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: new("AWS/DynamoDB"), MetricName: &metric, Statistics: []types.Statistic{types.StatisticSum},
		Dimensions: []types.Dimension{{Name: new("TableName"), Value: &s.name}},
		StartTime:  new(now.Add(-day)), EndTime: &now, Period: new(int32(day / time.Second)),
	})
	if err != nil {
		return 0, false, fmt.Errorf("asking CloudWatch what the table %q has consumed: %w", s.name, err)
	}
	for _, p := range out.Datapoints {
		sum += aws.ToFloat64(p.Sum)
	}
	return sum, len(out.Datapoints) > 0, nil
}
