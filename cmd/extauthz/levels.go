package main

import (
	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// subject is what a command of levels is about, from its arguments.
type subject struct {
	noun  string // as in "the defaults of the resource"
	names []string
	ref   func(args []string, resource string) hierarchy.Ref
	// resource says what --resource means; empty: there is no such flag.
	resource string
	fallback bool // it has --on-unavailable
}

func (s *subject) use(verb, rest string) string {
	for _, n := range s.names {
		verb += " " + n
	}
	if rest != "" {
		verb += " " + rest
	}
	return verb
}

// resourceOf adds --resource where the subject has it.
func (s *subject) resourceOf(c *cobra.Command) func() string {
	if s.resource == "" {
		return func() string { return "" }
	}
	return addResource(c, s.resource)
}

// setCommand sets limits at a level.
func (s *subject) setCommand(verb, short string) *cobra.Command {
	c := &cobra.Command{
		Use: s.use(verb, "-l NAME:RATE[/PERIOD][:BURST] ..."), Short: short, Args: exactly(s.names...),
		Long: short + `.

The limits that are named replace all that the level has; what else it says
stays. A change is in force everywhere within seconds: raising a limit gives
nobody more than what is gained from then on.`,
	}
	limits := addLimits(c)
	resource := s.resourceOf(c)
	var fallback *string
	if s.fallback {
		fallback = c.Flags().String("on-unavailable", "", "how to answer while the store doesn't: error, allow, deny or local")
	}
	return onSession(c, func(w *work, args []string) error {
		change := admin.LevelChange{Limits: *limits}
		if fallback != nil && *fallback != "" {
			f, ok := ratelimit.ParseFallback(*fallback)
			if !ok {
				return usage("error, allow, deny or local", "--on-unavailable: %q is none of them", *fallback)
			}
			change.OnUnavailable = f
		}
		if len(change.Limits) == 0 && change.OnUnavailable == ratelimit.FallbackUnset {
			return usage("add -l, as in -l rpm:100/min", "no limit is named")
		}
		i, err := w.SetLevel(w.ctx(), verb, s.ref(args, resource()), change)
		if err != nil {
			return err
		}
		if n := w.Units(&i); n > 1 && w.form == asTable {
			printf(c.ErrOrStderr(), "a charge by %s costs up to %d write units: fewer limits, or shorter names, cost less\n", count(len(i.Level.Limits), "limit"), n)
		}
		return w.item(i)
	})
}

// getCommand shows a level.
func (s *subject) getCommand(verb, short string) *cobra.Command {
	c := &cobra.Command{Use: s.use(verb, ""), Short: short, Args: exactly(s.names...)}
	resource := s.resourceOf(c)
	return onSession(c, func(w *work, args []string) error {
		i, err := w.Get(w.ctx(), s.ref(args, resource()))
		if err != nil {
			return err
		}
		return w.item(i)
	})
}

// deleteCommand deletes a level.
func (s *subject) deleteCommand(verb, short string) *cobra.Command {
	c := &cobra.Command{Use: s.use(verb, ""), Short: short, Args: exactly(s.names...)}
	resource := s.resourceOf(c)
	addYes(c)
	return onSession(c, func(w *work, args []string) error {
		ref := s.ref(args, resource())
		if _, err := w.Get(w.ctx(), ref); err != nil {
			return err
		}
		if err := w.confirm("delete what is said of " + ref.String() + "?"); err != nil {
			return err
		}
		i, err := w.Delete(w.ctx(), verb, ref)
		if err != nil {
			return err
		}
		return w.item(i)
	})
}

// modeCommands switch charging at a level.
func (s *subject) modeCommands() []*cobra.Command {
	mode := func(verb, short string, m ratelimit.Mode) *cobra.Command {
		c := &cobra.Command{Use: s.use(verb, ""), Short: short, Args: exactly(s.names...)}
		resource := s.resourceOf(c)
		inherit := new(bool)
		if m == ratelimit.ModeOn {
			inherit = c.Flags().Bool("inherit", false, "say nothing here, so that the next level's mode counts")
		}
		return onSession(c, func(w *work, args []string) error {
			set := m
			if *inherit {
				set = ratelimit.ModeUnset
			}
			i, err := w.SetMode(w.ctx(), s.ref(args, resource()), set)
			if err != nil {
				return err
			}
			return w.item(i)
		})
	}
	return []*cobra.Command{
		mode("disable", "Deny every request of "+s.noun, ratelimit.ModeDisabled),
		mode("enable", "Charge the requests of "+s.noun+" again", ratelimit.ModeOn),
		mode("bypass", "Admit every request of "+s.noun+", and count it", ratelimit.ModeBypass),
	}
}

func newSystem() *cobra.Command {
	s := subject{noun: "the system", fallback: true, ref: func([]string, string) hierarchy.Ref { return hierarchy.SystemRef() }}
	return group("system", "Limits of whoever has none of their own", "",
		s.setCommand("set-defaults", "Set the limits of every resource that has none of its own"),
		s.getCommand("get-defaults", "Show the system's limits"),
		s.deleteCommand("delete-defaults", "Delete the system's limits"))
}

func newResource() *cobra.Command {
	s := subject{
		noun: "a resource", names: []string{"RESOURCE"}, fallback: true,
		ref: func(args []string, _ string) hierarchy.Ref { return hierarchy.ResourceRef(args[0]) },
	}
	g := group("resource", "Limits of resources", "",
		s.setCommand("set-defaults", "Set the limits that each entity has for a resource"),
		s.getCommand("get-defaults", "Show a resource's limits"),
		s.deleteCommand("delete-defaults", "Delete a resource's limits"),
		listCommand("list", "List the resources of which something is said", []hierarchy.Kind{hierarchy.KindResource}))
	g.AddCommand(s.modeCommands()...)
	return g
}

// tierKinds are all that is said of a tier.
func tierKinds() []hierarchy.Kind {
	return []hierarchy.Kind{hierarchy.KindTier, hierarchy.KindTierResource}
}

func newTier() *cobra.Command {
	s := subject{
		noun: "a tier", names: []string{"TIER"}, resource: "for this `resource` alone",
		ref: func(args []string, resource string) hierarchy.Ref { return hierarchy.TierRef(args[0], resource) },
	}
	kinds := tierKinds()
	g := group("tier", "Limits of tiers: sets of limits that entities refer to", "",
		s.setCommand("set-limits", "Set the limits of a tier"),
		listCommand("list", "List the tiers", kinds),
		showCommand("TIER", "Show all that is said of a tier", kinds),
		deleteAllCommand("TIER", "delete-tier", "Delete a tier with all its limits", kinds))
	g.AddCommand(s.modeCommands()...)
	return g
}

// listCommand lists items of some kinds.
func listCommand(verb, short string, kinds []hierarchy.Kind) *cobra.Command {
	c := &cobra.Command{Use: verb, Short: short, Args: noArgs}
	page := addPage(c)
	prefix := c.Flags().String("prefix", "", "those whose names begin with this `text`")
	return onSession(c, func(w *work, _ []string) error {
		if err := checkPage(page); err != nil {
			return err
		}
		return w.items(w.Select(w.ctx(), hierarchy.Selector{Kinds: kinds, Prefix: *prefix}, *page))
	})
}

// showCommand shows all items of a name.
func showCommand(noun, short string, kinds []hierarchy.Kind) *cobra.Command {
	c := &cobra.Command{Use: "show " + noun, Short: short, Args: exactly(noun)}
	return onSession(c, func(w *work, args []string) error {
		items, err := w.Describe(w.ctx(), hierarchy.Selector{Kinds: kinds, Name: args[0]})
		return w.items(admin.NewList(items, ""), err)
	})
}

// deleteAllCommand deletes all items of a name.
func deleteAllCommand(noun, action, short string, kinds []hierarchy.Kind) *cobra.Command {
	c := &cobra.Command{Use: "delete " + noun, Short: short, Args: exactly(noun)}
	addYes(c)
	return onSession(c, func(w *work, args []string) error {
		sel := hierarchy.Selector{Kinds: kinds, Name: args[0]}
		if _, err := w.Describe(w.ctx(), sel); err != nil {
			return err
		}
		ref := hierarchy.Ref{Kind: kinds[0], Name: args[0]}
		if err := w.confirm("delete all that is said of " + ref.String() + "?"); err != nil {
			return err
		}
		items, err := w.DeleteAll(w.ctx(), action, sel)
		return w.items(admin.NewList(items, ""), err)
	})
}
