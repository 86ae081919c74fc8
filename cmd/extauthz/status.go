package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/cost"
	"github.com/extauthz/extauthz/internal/stack"
	"github.com/extauthz/extauthz/pkg/dynamostore"
)

// condition is how a deployment is, in JSON.
type condition struct {
	Name           string         `json:"name"`
	Region         string         `json:"region"`
	Available      bool           `json:"available"`
	LatencySeconds *float64       `json:"latency_seconds,omitempty"`
	Stack          *stackJSON     `json:"stack,omitempty"`
	Table          *tableJSON     `json:"table,omitempty"`
	Aggregator     aggregatorJSON `json:"aggregator"`
	Versions       versionsJSON   `json:"versions"`
	LastDay        *lastDayJSON   `json:"last_day,omitempty"`
	Problems       []string       `json:"problems"`
}

type stackJSON struct {
	Status    string     `json:"status"`
	Reason    string     `json:"reason,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at,omitempty"`
	Protected bool       `json:"protected"`
}

type tableJSON struct {
	Status    string `json:"status"`
	Items     int64  `json:"items"`
	Bytes     int64  `json:"bytes"`
	Protected bool   `json:"protected"`
}

type aggregatorJSON struct {
	Status string       `json:"status,omitempty"`
	Code   stack.Origin `json:"code"`
}

type versionsJSON struct {
	Program       string       `json:"program"`
	ProgramLayout int64        `json:"program_layout"`
	DeployedBy    string       `json:"deployed_by,omitempty"`
	Template      stack.Origin `json:"template"`
	TableLayout   int64        `json:"table_layout"`
	Fit           bool         `json:"fit"`
}

// lastDayJSON is what the table has consumed, and what that is at list price.
type lastDayJSON struct {
	WriteUnits float64 `json:"write_units"`
	ReadUnits  float64 `json:"read_units"`
	Dollars    float64 `json:"dollars"`
}

func newStatus() *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "Show how a deployment is: table, stack, aggregator, versions", Args: noArgs,
		Long: `status asks the table and CloudFormation. What it may not ask is unknown, and says
why. The exit status is 1 when the table doesn't answer.`,
	}
	p := addPlace(c, true)
	form := addOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		code, err := stack.BuiltIn()
		if err != nil {
			return toldOfStack(err)
		}
		return p.onStack(c, *form, func(s *stack.Stack) error {
			is := conditionOf(s.Look(c.Context(), code))
			if *form == asJSON {
				err = printJSON(c.OutOrStdout(), is)
			} else {
				err = printCondition(c.OutOrStdout(), is)
			}
			if err == nil && !is.Available {
				return &failure{status: exitFailed}
			}
			return err
		})
	}
	return c
}

func conditionOf(st *stack.Status) *condition {
	is := &condition{
		Name: st.Name, Region: st.Region, Available: st.Available(),
		Aggregator: aggregatorJSON{st.Aggregator, st.Code},
		Versions: versionsJSON{
			Program: version, ProgramLayout: dynamostore.SchemaVersion, DeployedBy: st.Version, Template: st.Template,
			TableLayout: st.Table.Schema, Fit: st.Table.Schema <= dynamostore.SchemaVersion && st.Template != stack.Other && st.Code != stack.Other,
		},
		Problems: append([]string{}, st.Problems()...),
	}
	if st.Available() {
		is.LatencySeconds = new(st.Table.Latency.Seconds())
		is.Table = &tableJSON{st.Table.Status, st.Table.Items, st.Table.Bytes, st.Table.Protected}
	}
	if u := st.Spent; u != nil {
		prices := cost.USEast1()
		is.LastDay = &lastDayJSON{u.WriteUnits, u.ReadUnits, (u.WriteUnits*prices.WriteUnits + u.ReadUnits*prices.ReadUnits) / 1e6}
	}
	if s := st.State; s != nil {
		is.Stack = &stackJSON{s.Status, s.Reason, s.CreatedAt.UTC(), moment(s.UpdatedAt), s.Protected}
	}
	return is
}

func printCondition(out io.Writer, is *condition) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(label, format string, args ...any) { printf(w, "%s\t%s\n", label, fmt.Sprintf(format, args...)) }
	line("name", "%s in %s", is.Name, is.Region)
	if is.Available {
		line("available", "yes, in %.1f ms", *is.LatencySeconds*1000)
	} else {
		line("available", "no")
	}
	switch s := is.Stack; {
	case s == nil:
		line("stack", "none or unknown")
	case s.Reason != "":
		line("stack", "%s: %s", s.Status, s.Reason)
	default:
		line("stack", "%s", s.Status)
	}
	if t := is.Table; t != nil {
		protected := "not protected from deletion"
		if t.Protected {
			protected = "protected from deletion"
		}
		line("table", "%s, %s and %d bytes as counted some hours ago, %s", t.Status, count(int(t.Items), "item"), t.Bytes, protected)
	}
	if is.Aggregator.Status != "" {
		line("aggregator", "%s, its code: %s", is.Aggregator.Status, origin(is.Aggregator.Code))
	} else {
		line("aggregator", "none")
	}
	v := is.Versions
	line("program", "%s, layout %d", v.Program, v.ProgramLayout)
	deployedBy := v.DeployedBy
	if deployedBy == "" {
		deployedBy = "unknown"
	}
	line("deployed by", "%s, template: %s, layout %d", deployedBy, origin(v.Template), v.TableLayout)
	fit := "yes"
	if !v.Fit {
		fit = "no"
	}
	line("versions fit", "%s", fit)
	if d := is.LastDay; d != nil {
		line("last day", "%.0f write units and %.0f read units, %.2f dollars at the prices of %s", d.WriteUnits, d.ReadUnits, d.Dollars, cost.USEast1().Region)
	} else {
		line("last day", "unknown")
	}
	for _, p := range is.Problems {
		line("problem", "%s", p)
	}
	return w.Flush()
}

// origin is whose version something is of, for people.
func origin(o stack.Origin) string {
	switch o {
	case stack.Same:
		return "this program's"
	case stack.Other:
		return "another's"
	}
	return "unknown"
}
