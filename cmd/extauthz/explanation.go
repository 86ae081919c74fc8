package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/extauthz/extauthz/internal/admin"
)

// printExplanation prints an explanation for people.
func printExplanation(w io.Writer, q *admin.Question, e *admin.Explanation) error {
	for i := range e.Requests {
		r := &e.Requests[i]
		printf(w, "%s\n", requestLine(q, i))
		rows := make([]string, len(r.Rules))
		for j, rule := range r.Rules {
			rows[j] = fmt.Sprintf("  %s\t%s\t%s", rule.Rule, strings.ReplaceAll(rule.Verdict, "_", " "), rule.Detail)
		}
		if err := printTable(w, rows); err != nil {
			return err
		}
		if r.Rule == "" && r.Action == "no_match" {
			printf(w, "  no rule takes it\n")
		}
		for j := range r.Charges {
			if err := printCharge(w, "charge", &r.Charges[j]); err != nil {
				return err
			}
		}
		for j := range r.Shadows {
			if err := printCharge(w, "not enforced, charged beside:", &r.Shadows[j]); err != nil {
				return err
			}
		}
		printf(w, "\n")
	}
	printf(w, "%s\n", decisionLine(e))
	if e.Error != "" {
		printf(w, "  %s\n", e.Error)
	}
	if !e.Live && charges(e) {
		printf(w, "Every bucket is taken to be full: --server ADDRESS asks a running service.\n")
	}
	return nil
}

func charges(e *admin.Explanation) bool {
	for i := range e.Requests {
		if len(e.Requests[i].Charges) > 0 {
			return true
		}
	}
	return false
}

// requestLine is the request that is explained.
func requestLine(q *admin.Question, i int) string {
	if len(q.Descriptors) == 0 {
		method := q.Method
		if method == "" {
			method = "GET"
		}
		return method + " " + q.Path
	}
	entries := make([]string, len(q.Descriptors[i].Entries))
	for j, e := range q.Descriptors[i].Entries {
		entries[j] = fmt.Sprintf("%s=%q", e.Key, e.Value)
	}
	return fmt.Sprintf("descriptor %d of domain %q: %s", i+1, q.Domain, strings.Join(entries, ", "))
}

// printCharge prints whose buckets a charge concerns, and their limits.
func printCharge(w io.Writer, what string, c *admin.ChargeExplanation) error {
	printf(w, "  %s of rule %s: entity %q, resource %q, namespace %q", what, c.Rule, c.Entity, c.Resource, c.Namespace)
	if c.Tier != "" {
		printf(w, ", tier %q", c.Tier)
	}
	if c.Settle {
		printf(w, ", booked whatever the balance")
	}
	printf(w, "\n")
	for i := range c.Buckets {
		if err := printBucket(w, &c.Buckets[i], i); err != nil {
			return err
		}
	}
	return nil
}

func printBucket(w io.Writer, b *admin.BucketExplanation, i int) error {
	whose := ""
	if i > 0 {
		whose = fmt.Sprintf("parent %q: ", b.Entity)
	}
	switch {
	case b.Mode == "disabled" || b.Mode == "bypass":
		printf(w, "    %smode %s\n", whose, b.Mode)
		return nil
	case b.Level == "none":
		printf(w, "    %sno limits apply, at any level\n", whose)
		return nil
	}
	printf(w, "    %slimits from: %s\n", whose, b.Level)
	rows := make([]string, 0, len(b.Limits)+len(b.Unknown))
	for _, l := range b.Limits {
		rows = append(rows, fmt.Sprintf("      %s\t%s\ttakes %d\tof %d\t%s", l.Name, l.Text, l.Cost, l.Balance, verdictOf(&l)))
	}
	for _, name := range b.Unknown {
		rows = append(rows, fmt.Sprintf("      %s\tnot there\tnot charged\t\t", name))
	}
	return printTable(w, rows)
}

// printTable prints rows whose cells stand between tabs, with the cells of a
// column below each other.
func printTable(w io.Writer, rows []string) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	printf(t, "%s", strings.Join(rows, "\n"))
	if err := t.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	for line := range strings.Lines(b.String()) {
		printf(w, "%s\n", strings.TrimRight(line, " \n"))
	}
	return nil
}

// verdictOf is what a limit says to the charge.
func verdictOf(l *admin.LimitExplanation) string {
	switch {
	case l.Never:
		return "never: more than the bucket holds"
	case l.Violated:
		return "too little: wait " + seconds(l.RetryAfterSeconds)
	}
	return "enough"
}

func decisionLine(e *admin.Explanation) string {
	line := "Decision: " + e.Verdict
	if e.Reason != "" {
		line += " (" + e.Reason + ")"
	}
	if e.RetryAfterSeconds > 0 {
		line += ", retry after " + seconds(e.RetryAfterSeconds)
	}
	return line
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', -1, 64) + " s" }
