package stack

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/extauthz/extauthz/infra"
)

// Code is the zip of the aggregator.
type Code struct {
	zip  []byte
	arch string // as the template names it
}

// maxBootstrap bounds what is unpacked; Lambda takes no more itself.
const maxBootstrap = 250 << 20

// ReadCode reads a zip with the program that Lambda starts. The error matches
// [ErrInvalid].
func ReadCode(zipped []byte) (*Code, error) {
	invalid := func(why string, err error) (*Code, error) {
		return nil, &Error{
			Class: ErrInvalid, What: "the zip of the aggregator " + why, Err: err,
			Hint: "extauthz lambda-export writes one; make aggregator builds one",
		}
	}
	z, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		return invalid("can't be read", err)
	}
	f, err := z.Open("bootstrap")
	if err != nil {
		return invalid("has no program bootstrap", err)
	}
	defer func() { _ = f.Close() }()
	program, err := io.ReadAll(io.LimitReader(f, maxBootstrap))
	if err != nil {
		return invalid("can't be unpacked", err)
	}
	e, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return invalid("has a bootstrap that is no program for Linux", err)
	}
	switch e.Machine {
	case elf.EM_AARCH64:
		return &Code{zipped, "arm64"}, nil
	case elf.EM_X86_64:
		return &Code{zipped, "x86_64"}, nil
	}
	return invalid("is for "+e.Machine.String()+", not for arm64 or x86_64", nil)
}

// BuiltIn is the aggregator's code in this program; nil: it was built without.
func BuiltIn() (*Code, error) {
	if len(infra.Aggregator) == 0 {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	return ReadCode(infra.Aggregator)
}

// Architecture is what the code is for: arm64 or x86_64.
func (c *Code) Architecture() string { return c.arch }

// key is where the code belongs: the same code is the same key, and another key
// is what has CloudFormation take another code.
func (c *Code) key() string {
	sum := sha256.Sum256(c.zip)
	return "aggregator/" + hex.EncodeToString(sum[:]) + ".zip"
}

// upload puts the code where a stack takes it from.
func (s *Stack) upload(ctx context.Context, c *Code, bucket string) error {
	_, err := s.buckets.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: new(c.key()), Body: bytes.NewReader(c.zip)})
	if err != nil {
		return fmt.Errorf("putting the aggregator's code into the bucket %q: %w", bucket, err)
	}
	return nil
}
