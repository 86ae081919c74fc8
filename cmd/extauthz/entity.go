package main

import (
	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// entityKinds are all that is said of an entity.
func entityKinds() []hierarchy.Kind {
	return []hierarchy.Kind{hierarchy.KindEntity, hierarchy.KindEntityDefault, hierarchy.KindEntityResource}
}

func newEntity() *cobra.Command {
	s := subject{
		noun: "an entity", names: []string{"ENTITY"}, resource: "for this `resource` alone (default: for every one, which _default_ says too)",
		ref: func(args []string, resource string) hierarchy.Ref { return hierarchy.EntityRef(args[0], resource) },
	}
	kinds := entityKinds()
	g := group("entity", "Entities: who is limited", "",
		newEntityCreate(),
		showCommand("ENTITY", "Show all that is said of an entity", kinds),
		newEntityList(kinds),
		deleteAllCommand("ENTITY", "delete-entity", "Delete an entity with all its limits", kinds),
		s.setCommand("set-limits", "Set the limits of an entity"),
		s.getCommand("get-limits", "Show the limits of an entity"),
		s.deleteCommand("delete-limits", "Delete the limits of an entity"),
		newEntitySetTier(), newEntitySetParent(), newEntityReset(), newEntityTopUp())
	g.AddCommand(s.modeCommands()...)
	return g
}

func newEntityCreate() *cobra.Command {
	c := &cobra.Command{
		Use: "create ENTITY", Short: "Make an entity", Args: exactly("ENTITY"),
		Long: `create says of an entity what is known of it beside its limits. An entity that
has nothing to be said of need not be made: limits apply to it as they are.`,
		Example: "  extauthz entity create user-123 --tier gold --parent acme --cascade",
	}
	var p hierarchy.Profile
	fs := c.Flags()
	fs.StringVar(&p.DisplayName, "display-name", "", "the entity's `name` for people")
	fs.StringVar(&p.Tier, "tier", "", "the `tier` whose limits it has")
	fs.StringVar(&p.Parent, "parent", "", "the `entity` that it belongs to")
	fs.BoolVar(&p.Cascade, "cascade", false, "charge the parent too")
	metadata := fs.StringArray("metadata", nil, "something else, `K=V`; again for more of it")
	return onSession(c, func(w *work, args []string) error {
		var err error
		if p.Metadata, err = parsePairs("--metadata", *metadata, "="); err != nil {
			return usage("as in --metadata crm=42", "%s", err)
		}
		i, err := w.CreateEntity(w.ctx(), args[0], p)
		if err != nil {
			return err
		}
		return w.item(i)
	})
}

func newEntityList(kinds []hierarchy.Kind) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the entities of which something is said", Args: noArgs}
	page := addPage(c)
	prefix := c.Flags().String("prefix", "", "those whose names begin with this `text`")
	resource := c.Flags().String("with-custom-limits", "", "those with limits of their own for this `resource`")
	return onSession(c, func(w *work, _ []string) error {
		if err := checkPage(page); err != nil {
			return err
		}
		sel := hierarchy.Selector{Kinds: kinds, Prefix: *prefix, Resource: *resource}
		return w.items(w.Select(w.ctx(), sel, *page))
	})
}

func newEntitySetTier() *cobra.Command {
	c := &cobra.Command{Use: "set-tier ENTITY (TIER | --none)", Short: "Give an entity the limits of a tier"}
	none := c.Flags().Bool("none", false, "the entity has no tier")
	c.Args = func(c *cobra.Command, args []string) error {
		if *none {
			return exactly("ENTITY")(c, args)
		}
		return exactly("ENTITY", "TIER")(c, args)
	}
	return onSession(c, func(w *work, args []string) error {
		tier := ""
		if !*none {
			tier = args[1]
		}
		return w.profile("set-tier", args[0], func(p *hierarchy.Profile) { p.Tier = tier })
	})
}

func newEntitySetParent() *cobra.Command {
	c := &cobra.Command{Use: "set-parent ENTITY (--parent PARENT | --none)", Short: "Move an entity to another parent", Args: exactly("ENTITY")}
	parent := c.Flags().String("parent", "", "the `entity` that it belongs to")
	none := c.Flags().Bool("none", false, "the entity has no parent")
	cascade := c.Flags().Bool("cascade", false, "charge the parent too (default: as before)")
	return onSession(c, func(w *work, args []string) error {
		if (*parent == "") != *none {
			return usage("name it with --parent, or say --none", "nothing says which parent the entity has")
		}
		set := c.Flags().Changed("cascade")
		return w.profile("set-parent", args[0], func(p *hierarchy.Profile) {
			p.Parent = *parent
			p.Cascade = *parent != "" && p.Cascade
			if set {
				p.Cascade = *cascade && *parent != ""
			}
		})
	})
}

// profile changes an entity's profile and prints it.
func (w *work) profile(action, entity string, change func(*hierarchy.Profile)) error {
	i, err := w.ChangeEntity(w.ctx(), action, entity, change)
	if err != nil {
		return err
	}
	return w.item(i)
}
