package main

import (
	"github.com/spf13/cobra"

	"github.com/extauthz/extauthz/infra"
)

func newCfnTemplate() *cobra.Command {
	return &cobra.Command{
		Use: "cfn-template", Short: "Print the CloudFormation template that deploy uses", Args: noArgs,
		Long: `cfn-template prints the template of a deployment, for those who review it or run
it with tools of their own. Each parameter may be left out; the aggregator needs
its code (extauthz lambda-export) in a bucket, and its key in AggregatorCodeKey.`,
		RunE: func(c *cobra.Command, _ []string) error {
			printf(c.OutOrStdout(), "%s", infra.Template)
			return nil
		},
	}
}
