package main

import (
	"bufio"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const flagYes = "yes"

// addYes adds the flag that answers for the user.
func addYes(c *cobra.Command) { c.Flags().BoolP(flagYes, "y", false, "don't ask") }

// confirm asks before something is done that can't be undone.
func (w *work) confirm(question string) error { return confirm(w.c, question) }

// confirm is for a command that has addYes's flag.
func confirm(c *cobra.Command, question string) error {
	if yes, err := c.Flags().GetBool(flagYes); err != nil || yes {
		return err
	}
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usage("add --yes", "there is no terminal to ask at: %s", question)
	}
	printf(c.ErrOrStderr(), "%s [y/N] ", question)
	// What can't be read is no yes.
	answer, _ := bufio.NewReader(in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &failure{text: "nothing was done", status: exitFailed}
}
