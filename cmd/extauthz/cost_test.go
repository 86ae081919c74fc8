package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The worked example of docs/operations.md is what the command computes.
func TestWorkedExampleOfCost(t *testing.T) {
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```sh\nextauthz (cost [^\n]*)\n```\n\n```text\n(.*?)```").FindSubmatch(docs)
	if m == nil {
		t.Fatal("docs/operations.md has no worked example of extauthz cost")
	}
	var out bytes.Buffer
	if status := run(t.Context(), strings.Fields(string(m[1])), nil, &out, &out); status != exitOK {
		t.Fatal(out.String())
	}
	if diff := cmp.Diff(string(m[2]), out.String()); diff != "" {
		t.Errorf("%s: documented (-), computed (+):\n%s", m[1], diff)
	}
}
