package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coffer/internal/oci/linuxname"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// asked reports whether a shell asks for completions, by cobra's commands for that.
func asked(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// takesPath are the flags whose values a shell completes by names of files. Those that
// complete directories alone say so themselves.
var takesPath = []string{"bind", "console-socket", "egress-log", "log", "pid-file", "process", "resources", "trace"}

// answer makes the tree ready to complete words: the commands' names also after
// global flags, these after the commands' names, and no files where none are taken.
func answer(c *cobra.Command) {
	c.TraverseChildren = true
	c.Flags().VisitAll(func(f *pflag.Flag) {
		f.Hidden = false
		if _, directory := f.Annotations[cobra.BashCompSubdirsInDir]; !directory && !slices.Contains(takesPath, f.Name) {
			c.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions) // unless it has its own
		}
	})
	for _, sub := range c.Commands() {
		answer(sub)
	}
}

// completeProgram completes the name of a program, and then its arguments as the
// shell does by itself: files.
func completeProgram(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || word == "" || strings.Contains(word, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		files, _ := os.ReadDir(dir)
		for _, f := range files {
			if !strings.HasPrefix(f.Name(), word) {
				continue
			}
			if st, err := os.Stat(filepath.Join(dir, f.Name())); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				names = append(names, f.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveDefault
}

// completeCapability completes the name of a capability.
func completeCapability(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return linuxname.Capabilities(), cobra.ShellCompDirectiveNoFileComp
}

// shells has for each shell what has it complete from now on, and in every new session.
var shells = map[string][2]string{
	"bash":       {"source <(coffer completion bash)", "coffer completion bash >/etc/bash_completion.d/coffer"},
	"fish":       {"coffer completion fish | source", "coffer completion fish >~/.config/fish/completions/coffer.fish"},
	"powershell": {"coffer completion powershell | Out-String | Invoke-Expression", "coffer completion powershell >>$PROFILE"},
	"zsh":        {"source <(coffer completion zsh)", `coffer completion zsh >"${fpath[1]}/_coffer"`},
}

// completesShells has `coffer completion`, which is cobra's, in our words.
func completesShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	c, _, err := root.Find([]string{"completion"})
	if err != nil || c == root {
		return
	}
	onlySubcommands(c)
	c.Short = "Write what a shell needs to complete commands and flags"
	c.Long = c.Short + ", for one of the shells\nbelow. It completes IDs of containers, names of networks and the like, too."
	c.Example = "  " + shells["bash"][0]
	for _, shell := range c.Commands() {
		how := shells[shell.Name()]
		shell.Short = "Write what " + shell.Name() + " needs"
		shell.Long = fmt.Sprintf("Write a script by which %s completes coffer's commands and flags.", shell.Name())
		if shell.Name() == "bash" {
			shell.Long += "\nIt takes the package bash-completion."
		}
		if shell.Name() == "zsh" {
			shell.Long += "\nIt takes 'autoload -U compinit; compinit' in ~/.zshrc."
		}
		shell.Long += "\nThe first of the examples is for this session, the second for every new one."
		shell.Example = "  " + how[0] + "\n  " + how[1]
	}
}
