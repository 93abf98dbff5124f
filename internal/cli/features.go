package cli

import (
	"runtime/debug"

	"coffer/internal/container"

	"github.com/spf13/cobra"
)

func newFeatures(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:               "features",
		Short:             "Show what of the OCI runtime specification is supported, as JSON",
		Example:           "  coffer features",
		Args:              exactly(0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	return g.verb(c, exitVerb, func([]string) error {
		return printJSON(c.OutOrStdout(), container.Features(Version, commit()))
	})
}

// commit is the version of the source as the toolchain has noted it.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}
