package cli

import (
	"fmt"
	"runtime"

	"coffer/internal/sentry/abi"

	"github.com/spf13/cobra"
)

// Version is Coffer's version.
const Version = "0.1.0"

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:                   "version",
		Short:                 "Print Coffer's version",
		Example:               "  coffer version",
		DisableFlagsInUseLine: true,
		Args:                  exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "coffer %s (%s, %s/%s; guests see Linux %s)\n",
				Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, abi.OSRelease)
			return err
		},
	}
}
