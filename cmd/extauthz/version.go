package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "The version of this binary",
		Args:  noArgs,
	}
	form := addOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *form == asJSON {
			return printJSON(c.OutOrStdout(), map[string]string{
				"version": version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
			})
		}
		printf(c.OutOrStdout(), "%s", versionLine())
		return nil
	}
	return c
}

func versionLine() string {
	return fmt.Sprintf("extauthz %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
