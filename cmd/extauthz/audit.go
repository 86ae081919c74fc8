package main

import (
	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

func newAudit() *cobra.Command {
	return group("audit", "Who has changed what", "", newAuditList())
}

func newAuditList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the changes of a namespace, newest first", Args: noArgs}
	var sel hierarchy.Selector
	fs := c.Flags()
	entity := fs.StringP("entity", "e", "", "of this `entity` alone")
	tier := fs.String("tier", "", "of this `tier` alone")
	fs.StringVarP(&sel.Resource, "resource", "r", "", "of this `resource` alone")
	page := addPage(c)
	return onSession(c, func(w *work, _ []string) error {
		if err := checkPage(page); err != nil {
			return err
		}
		switch {
		case *entity != "" && *tier != "":
			return usage("leave one out", "--entity and --tier name two things")
		case *entity != "":
			sel.Name, sel.Kinds = *entity, entityKinds()
		case *tier != "":
			sel.Name, sel.Kinds = *tier, tierKinds()
		}
		return w.events(w.Audit(w.ctx(), sel, *page))
	})
}
