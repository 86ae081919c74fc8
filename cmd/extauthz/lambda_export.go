package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/infra"
	"github.com/extauthz/extauthz/internal/stack"
)

// exportedCode is what was written, in JSON.
type exportedCode struct {
	File         string `json:"file"`
	Architecture string `json:"architecture"`
	Bytes        int    `json:"bytes"`
	SHA256       string `json:"sha256"`
}

func newLambdaExport() *cobra.Command {
	c := &cobra.Command{
		Use: "lambda-export FILE", Short: "Write the aggregator's code, a zip for Lambda", Args: exactly("FILE"),
		Long: `lambda-export writes the zip that deploy would give Lambda, for those who deploy
with tools of their own. It is for arm64, and for the runtime provided.al2023.`,
	}
	form := addOutput(c)
	force := c.Flags().BoolP("force", "f", false, "write over a file that is there")
	c.RunE = func(c *cobra.Command, args []string) error {
		code, err := stack.BuiltIn()
		if err != nil {
			return toldOfStack(err)
		}
		if code == nil {
			return toldOfStack(&stack.Error{
				Class: stack.ErrNoCode, What: "this program was built without the aggregator's code",
				Hint: "make build builds one that has it, make aggregator the zip alone",
			})
		}
		if err := writeNew(args[0], infra.Aggregator, *force); err != nil {
			return err
		}
		sum := sha256.Sum256(infra.Aggregator)
		e := exportedCode{File: args[0], Architecture: code.Architecture(), Bytes: len(infra.Aggregator), SHA256: hex.EncodeToString(sum[:])}
		if *form == asJSON {
			return printJSON(c.OutOrStdout(), e)
		}
		printf(c.OutOrStdout(), "%s: %d bytes, for %s, sha256 %s\n", e.File, e.Bytes, e.Architecture, e.SHA256)
		return nil
	}
	return c
}

// writeNew writes a file, over one that is there only by force.
func writeNew(name string, content []byte, force bool) error {
	how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(name, how, 0o644) //nolint:gosec // the user names the file, for anybody to read
	if errors.Is(err, fs.ErrExist) {
		return usage("add --force to write over it", "%s is there already", name)
	}
	if err != nil {
		return usage("name a file that can be written", "%s", err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return usage("name a file that can be written", "%s", err)
	}
	return nil
}
