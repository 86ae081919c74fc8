package main

import (
	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/internal/config"
	"github.com/extauthz/extauthz/internal/dropin"
)

func newImportRatelimit() *cobra.Command {
	c := &cobra.Command{
		Use: "ratelimit FOLDER", Short: "Rules for a configuration of envoyproxy/ratelimit",
		Long: `ratelimit reads the files of a folder of envoyproxy/ratelimit's configuration and
prints a configuration file of rules that decide as they do, with a remark beside
each thing that means something else. Nothing is changed anywhere.

To serve such a folder as it is: extauthz serve --ratelimit-config FOLDER`,
		Args: exactly("folder"),
		Example: `  extauthz import ratelimit ./config > extauthz.yaml
  extauthz validate -c extauthz.yaml`,
	}
	merge := addMerge(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		files, report := config.ReadRatelimit(args[0], dropin.Options{Namespace: "default", MergeDomains: *merge})
		if report.Err() != nil {
			printf(c.ErrOrStderr(), "%s", report)
			return invalid(args[0], report)
		}
		imported := dropin.Import(files)
		printf(c.OutOrStdout(), "%s", imported.Text)
		if imported.Remarks > 0 {
			printf(c.ErrOrStderr(), "%s in it: what means something else\n", count(imported.Remarks, "remark"))
		}
		return nil
	}
	return c
}

// addMerge adds the flag for a folder whose files share domains.
func addMerge(c *cobra.Command) *bool {
	return c.Flags().Bool("merge-domain-config", false, "let several files of the folder be about one domain, as MERGE_DOMAIN_CONFIG does")
}
