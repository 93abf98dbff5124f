package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newHelp is `coffer help`, which unlike cobra's fails for what there is not.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:                   "help [COMMAND...]",
		Short:                 "Show what a command does and which flags it has",
		Example:               "  coffer help do\n  coffer help network create",
		DisableFlagsInUseLine: true,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			about, _, err := c.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return subcommands(about), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			about := c.Root()
			for _, name := range args {
				next, rest, err := about.Find([]string{name})
				if err != nil || len(rest) > 0 || next == about {
					return unknownCommand(about, name)
				}
				about = next
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// onlySubcommands makes c a command that does nothing but to hold others: it
// shows its help alone, and an error that names them for what it does not have.
func onlySubcommands(c *cobra.Command) {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(c, args[0])
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

// unknownCommand is the error for a word that is none of a command's own.
func unknownCommand(c *cobra.Command, word string) error {
	names := subcommands(c)
	if len(names) == 0 {
		return &exitError{exitUsage, fmt.Sprintf("%q has no command %q, nor any other", c.CommandPath(), word)}
	}
	says := fmt.Sprintf("%q has no command %q: ", c.CommandPath(), word)
	if close := c.SuggestionsFor(word); len(close) > 0 {
		return &exitError{exitUsage, says + "is " + strings.Join(close, " or ") + " meant?"}
	}
	return &exitError{exitUsage, says + "it is one of " + strings.Join(names, ", ")}
}

// subcommands names a command's own that are for users.
func subcommands(c *cobra.Command) []string {
	var names []string
	for _, s := range c.Commands() {
		if !s.Hidden {
			names = append(names, s.Name())
		}
	}
	return names
}

// The groups of commands. The global flags are for those of containers.
const (
	sandboxes  = "sandboxes"
	containers = "containers"
)

// helpWidth is how long lines of help may be: a terminal's usual width.
const helpWidth = 80

// explained is what the help says of flags. Of those that may be given several times
// it shows what they take each time, not Go's name for what all of that makes.
func explained(flags *pflag.FlagSet) string {
	shown := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.VisitAll(func(f *pflag.Flag) {
		shows := *f
		if one, ok := taken[f.Value.Type()]; ok {
			shows.Value, shows.DefValue = typed{f.Value, one}, ""
		}
		shown.AddFlag(&shows)
	})
	return shown.FlagUsagesWrapped(helpWidth)
}

// taken has for a list's type that of its elements.
var taken = map[string]string{"stringArray": "string", "uintSlice": "uint"}

// typed is a flag's value with another name for its type.
type typed struct {
	pflag.Value
	name string
}

func (t typed) Type() string { return t.name }

// usageOfGlobals has the usage say what the global flags are for. cobra's way for
// that are templates; with them the linker keeps every method of every type,
// since a template might call it: a tenth of the program.
func usageOfGlobals(root *cobra.Command) {
	usage := root.UsageFunc()
	root.SetUsageFunc(func(c *cobra.Command) error {
		out, text := c.OutOrStderr(), new(strings.Builder)
		c.SetOut(text)
		err := usage(c)
		c.SetOut(out)
		flags := c.LocalFlags()
		said := strings.Replace(text.String(), strings.TrimSpace(flags.FlagUsages()), strings.TrimSpace(explained(flags)), 1)
		switch {
		case !c.HasParent():
			said = strings.Replace(said, "\nFlags:\n", "\nFlags of the commands of containers, before or after the command's name:\n", 1)
		case c.GroupID == containers:
			said += "\nThe flags that 'coffer --help' shows are taken, too, before or after the\ncommand's name.\n"
		}
		if _, werr := io.WriteString(out, said); err == nil {
			err = werr
		}
		return err
	})
}
