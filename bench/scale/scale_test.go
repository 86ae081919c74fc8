package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const runs = `series,x,processes,keys,skew,requests_per_second,seconds,requests,admitted,ideal,late,failed,writes,refused,throttled,p50_ms,p99_ms,waited,entries,kilobytes,actors
overload,0.5,4,10,0,100,10,1000,990,1000,5,5,1250,250,50,5.00,12.00,1,10,5,0
overload,2,4,10,0,400,10,4000,2000,2000,0,0,2000,0,0,6.00,14.00,0.5,10,5,0
`

func TestSeries(t *testing.T) {
	all, err := read(strings.NewReader(runs))
	if err != nil || len(all) != 1 || len(all[0].points) != 2 {
		t.Fatalf("%v, %+v", err, all)
	}
	var out strings.Builder
	if err := all[0].table(&out); err != nil {
		t.Fatal(err)
	}
	if want := "| 0.5 | 100 | 1000 | 100 % | 1.200 | 0.750 | 0.9900 | 1.00 % | 5, 12 ms | 5 |"; !strings.Contains(out.String(), want) {
		t.Errorf("the table lacks %s:\n%s", want, out.String())
	}
	path := filepath.Join(t.TempDir(), "plot.svg")
	if err := all[0].plot(path); err != nil {
		t.Fatal(err)
	}
	if svg, err := os.ReadFile(path); err != nil || !strings.Contains(string(svg), "<svg") {
		t.Errorf("no plot: %v", err)
	}
	for _, bad := range []string{"", "series,x\n", "series,x\na,b\n"} {
		if _, err := read(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is read without an error", bad)
		}
	}
}
