package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/internal/stack"
)

// listed is a deployment in a list.
type listed struct {
	Name      string     `json:"name"`
	Status    string     `json:"status"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at,omitempty"`
}

func newList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the deployments of a region", Args: noArgs}
	p := addPlace(c, false)
	form := addOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := p.config(c)
		if err != nil {
			return err
		}
		found, err := stack.List(c.Context(), config)
		if err != nil {
			return toldOfStack(err)
		}
		items := []listed{}
		for _, st := range found {
			items = append(items, listed{st.Name, st.Status, st.CreatedAt.UTC(), moment(st.UpdatedAt)})
		}
		if *form == asJSON {
			return printJSON(c.OutOrStdout(), admin.NewList(items, ""))
		}
		rows := []string{"NAME\tSTATUS\tCREATED"}
		for _, l := range items {
			rows = append(rows, l.Name+"\t"+l.Status+"\t"+stamp(l.CreatedAt))
		}
		return printTable(c.OutOrStdout(), rows)
	}
	return c
}

// moment is a time, unless there was none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}
