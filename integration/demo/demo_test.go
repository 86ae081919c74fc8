package main

import (
	"bytes"
	"context"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inModule runs a test in the module's folder, where the demo runs.
func inModule(t *testing.T) {
	t.Helper()
	t.Chdir("../..")
}

// TestEveryPortIsKnown compares the ports of the example's files with those that
// the demo checks and moves.
func TestEveryPortIsKnown(t *testing.T) {
	inModule(t)
	found := map[int]bool{}
	for _, file := range []string{envoyFile, serviceFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, number := range portText.FindAllString(string(text), -1) {
			if n, err := strconv.Atoi(number); err == nil && n != 100000 {
				found[n] = true
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(uses)), slices.Sorted(maps.Keys(found))); diff != "" {
		t.Errorf("ports that the demo knows (-) and the files have (+):\n%s", diff)
	}
}

func TestShift(t *testing.T) {
	inModule(t)
	q, err := loadQuickstart(7)
	if err != nil {
		t.Fatal(err)
	}
	defer q.remove()
	for from, to := range map[string]string{envoyFile: q.envoy, serviceFile: q.service} {
		was, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		is, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		for n := range uses {
			if in, out := count(was, n), count(is, n+7); in != out {
				t.Errorf("%s has %d %d times, the copy has %d %d times", from, n, in, n+7, out)
			}
		}
	}
	q.remove()
	if _, err := os.Stat(q.envoy); err == nil {
		t.Errorf("the copies are still there")
	}
}

// count counts a number where it stands by itself.
func count(text []byte, n int) int {
	return len(regexp.MustCompile(`\b`+strconv.Itoa(n)+`\b`).FindAll(text, -1))
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		step  step
		code  int
		after string
		want  string
	}{
		"allowed":          {step{"acme", 200}, 200, "", ""},
		"denied":           {step{"acme", 429}, 429, "30", ""},
		"allowed too much": {step{"acme", 429}, 200, "", "the answer should be 429"},
		"denied too much":  {step{"acme", 200}, 429, "30", "the answer should be 200"},
		"without a wait":   {step{"acme", 429}, 429, "", `retry-after is "", it should be a number from 1 to 30`},
		"a wait of 0":      {step{"acme", 429}, 429, "0", `retry-after is "0", it should be a number from 1 to 30`},
		"a wait too long":  {step{"acme", 429}, 429, "31", `retry-after is "31", it should be a number from 1 to 30`},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if tc.after != "" {
				header.Set("Retry-After", tc.after)
			}
			got := ""
			if err := tc.step.check(answer{code: tc.code, header: header}); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("check: %q, want %q", got, tc.want)
			}
		})
	}
}

// TestTakenPorts has the demo name every port in the way, before it starts
// anything.
func TestTakenPorts(t *testing.T) {
	inModule(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), []string{"--once", "--shift", strconv.Itoa(port - portMetrics)}, &stdout, &stderr)
	want := "port " + strconv.Itoa(port) + " is taken (the service's metrics, listen.metrics of " + serviceFile + ")"
	if code != exitFailed || !strings.Contains(stderr.String(), want) {
		t.Errorf("exit %d, stderr:\n%s\nwant exit %d and %q", code, stderr.String(), exitFailed, want)
	}
}
