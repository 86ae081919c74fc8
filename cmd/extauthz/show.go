package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/admin"
	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// shown is a stored text as it can be printed: one that could do something to a
// terminal, or pass for another, in quotes with escapes.
func shown(s string) string {
	plain := func(r rune) bool { return unicode.IsPrint(r) && r != unicode.ReplacementChar }
	if strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) || strings.HasPrefix(s, `"`) || strings.TrimSpace(s) != s {
		return strconv.Quote(s)
	}
	return s
}

// cell is a text in a table.
func cell(s string) string {
	if s == "" {
		return "-"
	}
	return shown(s)
}

// item prints one item, of which nothing may be left.
func (w *work) item(i hierarchy.Item) error {
	if w.form == asJSON {
		return printJSON(w.c.OutOrStdout(), i)
	}
	out := w.c.OutOrStdout()
	if i.Deleted || i.Revision == 0 {
		printf(out, "%s: nothing\n", i.Ref)
		return nil
	}
	printf(out, "%s:\n", i.Ref)
	rows := make([]string, 0, 8)
	row := func(name, value string) {
		if value != "" {
			rows = append(rows, "  "+name+"\t"+shown(value))
		}
	}
	for _, l := range i.Level.Limits {
		row(l.Name, l.Text())
	}
	row("mode", i.Level.Mode.String())
	row("on_unavailable", i.Level.OnUnavailable.String())
	row("display name", i.Profile.DisplayName)
	row("tier", i.Profile.Tier)
	row("parent", i.Profile.Parent)
	if i.Profile.Parent != "" {
		row("cascade", strconv.FormatBool(i.Profile.Cascade))
	}
	for _, k := range slices.Sorted(maps.Keys(i.Profile.Metadata)) {
		row("metadata "+shown(k), i.Profile.Metadata[k])
	}
	row("manager", i.Manager)
	row("revision", strconv.FormatInt(i.Revision, 10))
	return printTable(out, rows)
}

// says is what an item says, in one line.
func says(i *hierarchy.Item) string {
	if i == nil || i.Deleted {
		return "nothing"
	}
	var words []string
	say := func(name, value string) {
		if value != "" {
			words = append(words, name+"="+shown(value))
		}
	}
	for _, l := range i.Level.Limits {
		words = append(words, l.String())
	}
	if m := i.Level.Mode; m != ratelimit.ModeUnset {
		say("mode", m.String())
	}
	say("on_unavailable", i.Level.OnUnavailable.String())
	say("display_name", i.Profile.DisplayName)
	say("tier", i.Profile.Tier)
	say("parent", i.Profile.Parent)
	if i.Profile.Cascade {
		words = append(words, "cascade")
	}
	for _, k := range slices.Sorted(maps.Keys(i.Profile.Metadata)) {
		say("metadata."+shown(k), i.Profile.Metadata[k])
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, " ")
}

// items prints a list of items.
func (w *work) items(l admin.List[hierarchy.Item], err error) error {
	return list(w, l, err, "KIND\tNAME\tRESOURCE\tSAYS\tMANAGER\tREVISION", func(i *hierarchy.Item) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d", i.Ref.Kind, cell(i.Ref.Name), cell(i.Ref.Resource), says(i), cell(i.Manager), i.Revision)
	})
}

// events prints a list of audit events.
func (w *work) events(l admin.List[hierarchy.Event], err error) error {
	return list(w, l, err, "TIME\tWHO\tACTION\tTARGET\tBEFORE\tAFTER", func(e *hierarchy.Event) string {
		who := cell(e.By.Caller)
		if e.By.As != "" {
			who += " as " + shown(e.By.As)
		}
		action := shown(e.Action)
		if e.Detail != "" {
			action += " " + shown(e.Detail)
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", stamp(e.At), who, action, e.Target, says(e.Before), says(e.After))
	})
}

// namespaces prints a list of namespaces.
func (w *work) namespaces(l admin.List[admin.NamespaceInfo], err error) error {
	return list(w, l, err, "NAME\tID\tSTATE\tCREATED\tREVISION", func(n *admin.NamespaceInfo) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%d", cell(n.Name), shown(n.ID), shown(n.State), stamp(n.CreatedAt), n.Revision)
	})
}

// namespace prints one.
func (w *work) namespace(n admin.NamespaceInfo, err error) error {
	if err != nil || w.form == asJSON {
		return orJSON(w, n, err)
	}
	return w.namespaces(admin.NewList([]admin.NamespaceInfo{n}, ""), nil)
}

func orJSON(w *work, v any, err error) error {
	if err != nil {
		return err
	}
	return printJSON(w.c.OutOrStdout(), v)
}

// stamp is a time as it is printed.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// list prints a part of a list, and how to go on.
func list[T any](w *work, l admin.List[T], err error, header string, row func(*T) string) error {
	if err != nil || w.form == asJSON {
		return orJSON(w, l, err)
	}
	rows := []string{header}
	for i := range l.Items {
		rows = append(rows, row(&l.Items[i]))
	}
	return printPart(w.c, rows, l.Next)
}

// printPart prints the rows of a part of a list, and how to go on where there is
// more.
func printPart(c *cobra.Command, rows []string, next string) error {
	if err := printTable(c.OutOrStdout(), rows); err != nil {
		return err
	}
	if next != "" {
		printf(c.ErrOrStderr(), "there is more: add --after %s\n", shown(next))
	}
	return nil
}
