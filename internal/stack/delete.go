package stack

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// Loss is what is gone with a stack.
type Loss struct {
	State   *State
	Items   int64    // in its table, as counted some hours ago; -1: not known
	Buckets []string // that are emptied
}

// Delete removes a stack with all that is in it, for ever, once approve has
// agreed to the loss; nil agrees. It stops at a table that is protected, and at
// a stack that is: the error matches [ErrProtected] then. Buckets are emptied
// when CloudFormation has got as far as them, so that nothing is lost of a stack
// that can't be deleted. It may be repeated.
func (s *Stack) Delete(ctx context.Context, approve func(Loss) error) error {
	st, err := s.State(ctx)
	if err != nil {
		return err
	}
	if err := st.refuseForeign(); err != nil {
		return err
	}
	if st.atWork() && st.Status != "DELETE_IN_PROGRESS" {
		if st, _, err = s.follow(ctx, st.ID, ""); err != nil {
			return err
		}
	}
	loss, err := s.loss(ctx, st)
	if err != nil {
		return err
	}
	if approve != nil {
		if err := approve(*loss); err != nil {
			return err
		}
	}
	return s.remove(ctx, st)
}

// loss is what would be gone, or why nothing can be.
func (s *Stack) loss(ctx context.Context, st *State) (*Loss, error) {
	if st.Protected {
		return nil, &Error{
			Class: ErrProtected, What: fmt.Sprintf("the stack %q has termination protection", s.name),
			Hint: "aws cloudformation update-termination-protection --no-enable-termination-protection --stack-name " + s.name,
		}
	}
	loss := &Loss{State: st, Items: -1}
	if info, err := dynamostore.Inspect(ctx, s.table()); err == nil && !st.inReview() {
		loss.Items = info.Items
		if info.Protected {
			return nil, s.protected()
		}
	}
	resources, err := s.resources(ctx)
	if err != nil { // what the events say is enough to go by
		return loss, nil //nolint:nilerr // as said
	}
	for _, name := range []string{resourceArchive, resourceBucket} {
		if bucket := aws.ToString(resources[name].PhysicalResourceId); bucket != "" {
			loss.Buckets = append(loss.Buckets, bucket)
		}
	}
	return loss, nil
}

func (s *Stack) protected() error {
	return &Error{
		Class: ErrProtected, What: fmt.Sprintf("the table %q is protected from deletion", s.name),
		Hint: "extauthz deploy --name " + s.name + " --no-deletion-protection",
	}
}

// attempts are how often a deletion is begun: what is written to a bucket after
// it was emptied keeps it.
const attempts = 4

// remove removes a stack and what is in its buckets.
func (s *Stack) remove(ctx context.Context, st *State) error {
	for range attempts {
		after := ""
		if st.Status != "DELETE_IN_PROGRESS" {
			var err error
			if after, err = s.lastEvent(ctx, st.ID); err != nil {
				return err
			}
			if _, err := s.formation.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &st.ID}); err != nil {
				return fmt.Errorf("deleting the stack %q: %w", s.name, err)
			}
		}
		now, reasons, err := s.follow(ctx, st.ID, after)
		if err != nil || now.Status == "DELETE_COMPLETE" {
			return err
		}
		if slices.ContainsFunc(reasons, func(e Event) bool { return e.Type == "AWS::DynamoDB::Table" }) {
			return s.protected()
		}
		full := slices.ContainsFunc(reasons, func(e Event) bool { return e.Type == "AWS::S3::Bucket" })
		if now.Status != "DELETE_FAILED" || !full {
			return s.failed("deleting", now, reasons)
		}
		for _, e := range reasons {
			if e.Type == "AWS::S3::Bucket" {
				if err := s.empty(ctx, e.of); err != nil {
					return err
				}
			}
		}
		st = now
	}
	return &Error{Class: ErrFailed, What: fmt.Sprintf("the buckets of the stack %q are filled again and again", s.name), Hint: "find who writes to them, then extauthz delete --name " + s.name}
}

// empty removes all that is in a bucket, versions too.
func (s *Stack) empty(ctx context.Context, bucket string) error {
	for in := (&s3.ListObjectVersionsInput{Bucket: &bucket}); ; {
		page, err := s.buckets.ListObjectVersions(ctx, in)
		if err != nil {
			return fmt.Errorf("emptying the bucket %q: %w", bucket, err)
		}
		var all []s3types.ObjectIdentifier
		for _, v := range page.Versions {
			all = append(all, s3types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, m := range page.DeleteMarkers {
			all = append(all, s3types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
		if len(all) > 0 {
			out, err := s.buckets.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &s3types.Delete{Objects: all, Quiet: new(true)}})
			if err != nil {
				return fmt.Errorf("emptying the bucket %q: %w", bucket, err)
			}
			if len(out.Errors) > 0 {
				return fmt.Errorf("emptying the bucket %q: %s: %s", bucket, aws.ToString(out.Errors[0].Key), aws.ToString(out.Errors[0].Message))
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
}
