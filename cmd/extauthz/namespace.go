package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

func newNamespace() *cobra.Command {
	return group("namespace", "Isolated worlds of one store", `A namespace has entities, limits, balances and an audit of its own. Its name
leads to an id; a name that is given away shows nothing of what it led to before.`,
		newNamespaceRegister(), newNamespaceList(false), newNamespaceShow(), newNamespaceDelete(),
		newNamespaceRecover(), newNamespacePurge(), newNamespaceList(true))
}

func newNamespaceRegister() *cobra.Command {
	c := &cobra.Command{Use: "register NAME ...", Short: "Make namespaces; those that exist stay as they are"}
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return exactly("NAME")(c, args)
		}
		return nil
	}
	return onStore(c, func(w *work, args []string) error {
		made, err := w.Register(w.ctx(), args)
		if len(made) == 0 || err == nil {
			return w.namespaces(admin.NewList(made, ""), err)
		}
		if printed := w.namespaces(admin.NewList(made, ""), nil); printed != nil {
			return printed
		}
		return err
	})
}

func newNamespaceList(orphans bool) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the namespaces", Args: noArgs}
	if orphans {
		c.Use, c.Short = "orphans", "List the namespaces without a name: deleted ones, and what an interrupted purge left"
	}
	page := addPage(c)
	return onStore(c, func(w *work, _ []string) error {
		if err := checkPage(page); err != nil {
			return err
		}
		return w.namespaces(w.ListNamespaces(w.ctx(), orphans, *page))
	})
}

func newNamespaceShow() *cobra.Command {
	c := &cobra.Command{Use: "show NAME", Short: "Show a namespace", Args: exactly("NAME")}
	return onStore(c, func(w *work, args []string) error {
		n, err := w.Namespace(w.ctx(), args[0])
		return w.namespace(admin.InfoOf(n), told(err, args[0]))
	})
}

func newNamespaceDelete() *cobra.Command {
	c := &cobra.Command{
		Use: "delete NAME", Short: "Take the name away from a namespace", Args: exactly("NAME"),
		Long: `delete takes the name away and keeps all that the namespace holds, to be recovered
or purged by its id. Requests for the name are refused within seconds.`,
	}
	addYes(c)
	return onStore(c, func(w *work, args []string) error {
		if _, err := w.Namespace(w.ctx(), args[0]); err != nil {
			return told(err, args[0])
		}
		if err := w.confirm("take the name away from the namespace " + shown(args[0]) + "?"); err != nil {
			return err
		}
		n, err := w.Forget(w.ctx(), args[0])
		if err == nil && w.form == asTable {
			printf(c.ErrOrStderr(), "to undo it: extauthz namespace recover %s\n", shown(n.ID))
		}
		return w.namespace(n, err)
	})
}

func newNamespaceRecover() *cobra.Command {
	c := &cobra.Command{Use: "recover ID", Short: "Give a deleted namespace its name back", Args: exactly("ID")}
	return onStore(c, func(w *work, args []string) error {
		n, err := w.Recover(w.ctx(), args[0])
		return w.namespace(n, noOrphan(err))
	})
}

func newNamespacePurge() *cobra.Command {
	c := &cobra.Command{
		Use: "purge ID", Short: "Remove a deleted namespace and all that it holds, for ever", Args: exactly("ID"),
		Long: `purge removes a deleted namespace's configuration, balances, audit and usage. There
is no way back. It may be repeated after an interruption, and goes on from there.`,
	}
	addYes(c)
	return onStore(c, func(w *work, args []string) error {
		if err := w.confirm("remove all of the namespace " + shown(args[0]) + ", for ever?"); err != nil {
			return err
		}
		result := purged{ID: args[0]}
		err := w.PurgeNamespace(w.ctx(), args[0], func(removed int) {
			result.Removed = removed
			if w.form == asTable {
				printf(c.ErrOrStderr(), "%s removed\n", count(removed, "item"))
			}
		})
		switch {
		case err != nil:
			return noOrphan(err)
		case w.form == asJSON:
			return printJSON(c.OutOrStdout(), result)
		}
		printf(c.OutOrStdout(), "the namespace %s is gone\n", shown(args[0]))
		return nil
	})
}

// noOrphan says where the ids are, if an id is what isn't known.
func noOrphan(err error) error {
	if errors.Is(err, hierarchy.ErrUnknownNamespace) {
		return &failure{code: admin.CodeUnknownNamespace, text: err.Error(), hint: "extauthz namespace orphans", status: exitFailed}
	}
	return err
}

// purged is what became of a purge.
type purged struct {
	ID      string `json:"id"`
	Removed int    `json:"removed"` // items, as last told
}
