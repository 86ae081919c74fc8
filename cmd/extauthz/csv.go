package main

import (
	"encoding/csv"
	"fmt"
	"strings"
)

// rows prints a report in the form that was asked for; rows are it as a table,
// the first its heads. An empty cell stays empty in CSV.
func (w *work) rows(report any, rows [][]string) error {
	out := w.c.OutOrStdout()
	switch w.form {
	case asJSON:
		return printJSON(out, report)
	case asCSV:
		c := csv.NewWriter(out)
		for _, r := range rows {
			line := make([]string, len(r))
			for i, field := range r {
				line[i] = csvField(shown(field))
			}
			if err := c.Write(line); err != nil {
				return fmt.Errorf("printing: %w", err)
			}
		}
		c.Flush()
		return c.Error()
	}
	lines := make([]string, len(rows))
	for i, r := range rows {
		cells := make([]string, len(r))
		for j, field := range r {
			cells[j] = cell(field)
		}
		lines[i] = strings.Join(cells, "\t")
	}
	return printTable(out, lines)
}

// formulas are the characters that have a spreadsheet compute what follows; the
// wide ones do in some languages.
const formulas = "=+-@＝＋－＠\t\r\n"

// csvField is a field that no spreadsheet takes for a formula: names are chosen
// by clients. A number stays one.
func csvField(s string) string {
	if s == "" || !strings.ContainsRune(formulas, []rune(s)[0]) || isNumber(s) {
		return s
	}
	return "'" + s
}

// isNumber reports whether a text is a whole number, below zero too.
func isNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}
