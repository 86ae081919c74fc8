package infra_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOperationsKnowTheTemplate compares docs/operations.md with the template:
// every alarm is explained, and what it calls a parameter or an output is one.
func TestOperationsKnowTheTemplate(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	docs, tpl, alarms := string(text), read(t), 0
	for name, r := range tpl.Resources {
		alarm, ok := strings.CutSuffix(name, "Alarm")
		if !ok || r.Type != "AWS::CloudWatch::Alarm" {
			continue
		}
		alarms++
		if !strings.Contains(docs, "\n| "+alarm+" |") {
			t.Errorf("the alarm %s isn't explained", alarm)
		}
	}
	if !regexp.MustCompile(fmt.Sprintf(`(?m)^alarms +%d +alarms`, alarms)).MatchString(docs) {
		t.Errorf("the worked example has another number of alarms than the template, %d", alarms)
	}
	named := regexp.MustCompile("`([A-Z][a-z]+(?:[A-Z][a-z]+)+)(?:=[^`]*)?`").FindAllStringSubmatch(docs, -1)
	if len(named) < 20 {
		t.Errorf("only %d parameters and outputs are named", len(named))
	}
	// What AWS and other tools call so.
	others := map[string]bool{"LeadingKeys": true, "CfnInclude": true}
	for _, n := range named {
		_, parameter := tpl.Parameters[n[1]]
		_, output := tpl.Outputs[n[1]]
		if !parameter && !output && !others[n[1]] {
			t.Errorf("docs/operations.md names %s, which the template hasn't", n[1])
		}
	}
}
