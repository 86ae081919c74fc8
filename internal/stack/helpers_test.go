package stack_test

import (
	"archive/zip"
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/goleak"

	"github.com/extauthz/extauthz/internal/awslocal"
	"github.com/extauthz/extauthz/internal/ddblocal"
	"github.com/extauthz/extauthz/internal/stack"
)

func TestMain(m *testing.M) {
	// The local DynamoDB ends with the process.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/extauthz/extauthz/internal/ddblocal.wait"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).writerDescriptor.func1"))
}

// tables is the DynamoDB of all tests of the package.
var tables ddblocal.Shared

// cloud is an AWS, and what a test has seen of it.
type cloud struct {
	*awslocal.Server
	config stack.Config

	mu     sync.Mutex
	events []stack.Event
	plans  []stack.Plan
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{Server: awslocal.Start(t, &tables)}
	c.config = stack.Config{
		AWS: aws.Config{Region: "us-east-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
		})},
		Name: fmt.Sprintf("test-%d", time.Now().UnixNano()), EndpointURL: c.URL, Poll: 20 * time.Millisecond,
		Event: func(e stack.Event) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.events = append(c.events, e)
		},
	}
	return c
}

func (c *cloud) stack(t *testing.T) *stack.Stack {
	t.Helper()
	s, err := stack.New(c.config)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// agree is an approval that has seen the plan.
func (c *cloud) agree(p stack.Plan) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plans = append(c.plans, p)
	return nil
}

// last is the plan that was shown last.
func (c *cloud) last() *stack.Plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &c.plans[len(c.plans)-1]
}

func (c *cloud) deploy(t *testing.T, d stack.Declaration) *stack.Result {
	t.Helper()
	if d.Approve == nil {
		d.Approve = c.agree
	}
	r, err := c.stack(t).Deploy(t.Context(), d)
	must(t, err)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// says checks that something is said.
func says(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: it doesn't say %q", err, text)
		}
	}
}

// zipped is a zip with a program of a machine in it, which does nothing.
func zipped(t *testing.T, name string, machine elf.Machine, salt string) []byte {
	t.Helper()
	var program bytes.Buffer
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 64}
	copy(header.Ident[:], elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1}))
	must(t, binary.Write(&program, binary.LittleEndian, header))
	program.WriteString(salt)
	var file bytes.Buffer
	z := zip.NewWriter(&file)
	w, err := z.Create(name)
	must(t, err)
	_, err = w.Write(program.Bytes())
	must(t, err)
	must(t, z.Close())
	return file.Bytes()
}

// code is an aggregator of a version.
func code(t *testing.T, version string) *stack.Code {
	t.Helper()
	c, err := stack.ReadCode(zipped(t, "bootstrap", elf.EM_AARCH64, version))
	must(t, err)
	return c
}

// of is what becomes of a resource; empty: nothing.
func of(changes []stack.Change, resource string) string {
	i := slices.IndexFunc(changes, func(c stack.Change) bool { return c.Resource == resource })
	if i < 0 {
		return ""
	}
	return strings.TrimSpace(changes[i].Action + " " + changes[i].Replacement)
}
