package cli

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestCommands tells what becomes of words that are no commands.
func TestCommands(t *testing.T) {
	const top, shells = "one of check, completion, create, delete, do, events, exec, features, help, kill, list, network, pause, ps, resume, run, spec, start, state, update, version", "one of bash, fish, powershell, zsh"
	for _, c := range []struct {
		args  []string
		error string // works if it is empty
	}{
		{nil, ""}, {[]string{"help"}, ""}, {[]string{"help", "do"}, ""}, {[]string{"help", "completion", "bash"}, ""},
		{[]string{"completion"}, ""}, {[]string{"completion", "zsh"}, ""}, {[]string{"do", "--help"}, ""},
		{[]string{"bogus"}, `no command "bogus": it is ` + top},
		{[]string{"strat"}, `no command "strat": is start or state meant?`},
		{[]string{"help", "delte"}, `no command "delte": is delete meant?`},
		{[]string{"help", "bogus"}, `no command "bogus": it is ` + top},
		{[]string{"help", "do", "more"}, `"coffer do" has no command "more"`},
		{[]string{"completion", "foo"}, `no command "foo": it is ` + shells},
		{[]string{"help", "completion", "foo"}, `no command "foo": it is ` + shells},
		{[]string{"completion", "bash", "more"}, `unknown command "more"`},
		{[]string{"stats"}, `no command "stats": is events or start or state meant?`},
	} {
		root := newTree(false, append([]string{}, c.args...))
		root.SetOut(io.Discard)
		err := root.Execute()
		if c.error == "" {
			if err != nil {
				t.Errorf("%q: %v", c.args, err)
			}
			continue
		}
		var ee *exitError
		if err == nil || !strings.Contains(err.Error(), c.error) || errors.As(err, &ee) && ee.code != exitUsage {
			t.Errorf("%q: %v, want one with %q", c.args, err, c.error)
		}
	}
}

// TestGlobalFlags: the help says which commands take the global flags, and theirs
// says where they are shown.
func TestGlobalFlags(t *testing.T) {
	for _, c := range []struct{ command, says string }{
		{"", "Flags of the commands of containers"}, {"run", "The flags that 'coffer --help' shows"}, {"do", "Flags:"}, {"version", "Flags:"},
	} {
		var out strings.Builder
		root := newTree(false, append(strings.Fields(c.command), "--help"))
		root.SetOut(&out)
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), c.says) {
			t.Errorf("the help of %q does not say %q: %v, %s", c.command, c.says, err, &out)
		}
	}
}

// TestHelpReads: every command's help has an example, fits a terminal's usual width,
// and names no types of Go.
func TestHelpReads(t *testing.T) {
	var look func(c *cobra.Command, above []string)
	look = func(c *cobra.Command, above []string) {
		for _, sub := range c.Commands() {
			name := append(slices.Clone(above), sub.Name())
			if sub.Hidden {
				continue
			}
			look(sub, name)
			var out strings.Builder
			root := newTree(false, append(slices.Clone(name), "--help"))
			root.SetOut(&out)
			err := root.Execute()
			if err != nil || !strings.Contains(out.String(), "\nExamples:\n  ") {
				t.Errorf("the help of %q has no example: %v, %s", name, err, &out)
			}
			for line := range strings.Lines(out.String()) {
				if len(line) > helpWidth+1 || strings.Contains(line, "Array") || strings.Contains(line, "[]") {
					t.Errorf("the help of %q has the line %q", name, line)
				}
			}
		}
	}
	look(newTree(false, nil), nil)
}

// TestArguments: who gives too many or too few is shown how many there are.
func TestArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"network", "create"}, "0 are given: coffer network create [flags] NAME"},
		{[]string{"network", "rm", "a", "b"}, "2 are given: coffer network rm NAME"},
		{[]string{"check", "more"}, "1 are given: coffer check [flags]"},
		{[]string{"version", "more"}, "1 are given: coffer version"},
	} {
		if err := newTree(false, c.args).Execute(); err == nil || !strings.HasSuffix(err.Error(), c.says) {
			t.Errorf("%q: %v, want one that ends with %q", c.args, err, c.says)
		}
	}
}

// TestCompletion completes the words of commands by what they can be.
func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		args []string
		has  string // a line of the output
	}{
		{[]string{"--isolation", ""}, "process"}, {[]string{"kill", "id", ""}, "TERM"}, {[]string{"kill", "id", "SIGT"}, "SIGTERM"},
		{[]string{"list", "--format", ""}, "json"}, {[]string{"list", "--rootless", ""}, "auto"}, {[]string{"help", ""}, "run"}, {[]string{"exec", "id", ""}, ":4"},
		{[]string{"do", "--network", ""}, "bridge"}, {[]string{"network", "create", "--driver", ""}, "cni:"}, {[]string{"network", ""}, "inspect"},
		{[]string{"do", "--isolation", ""}, "process"}, {[]string{"do", "--user", ""}, ":4"}, {[]string{"network", "inspect", ""}, "bridge"},
		// After the global flags, which the verbs have as well.
		{[]string{"--isolation", "process", "ru"}, "run"}, {[]string{"--debug", "network", "r"}, "rm"}, {[]string{"run", "--is"}, "--isolation"},
		{[]string{"exec", "--cap", "CAP_NET_R"}, "CAP_NET_RAW"}, {[]string{"do", "--", "s"}, "sh"}, {[]string{"do", "--", "ls", "s"}, ":0"},
		{[]string{"update", "--memory", ""}, ":4"}, {[]string{"run", "--pid-file", ""}, ":0"}, {[]string{"run", "--root", ""}, ":16"},
	} {
		var out strings.Builder
		cmd := newTree(false, append([]string{"__complete"}, c.args...))
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		if err := cmd.Execute(); err != nil || !slices.Contains(strings.Fields(out.String()), c.has) {
			t.Errorf("%q: %v, %q, want it to have %s", c.args, err, &out, c.has)
		}
	}
}

// TestEmptyList: no containers are a list of none, also as JSON.
func TestEmptyList(t *testing.T) {
	var out strings.Builder
	cmd := newTree(false, []string{"--root", t.TempDir(), "list", "--format", "json"})
	cmd.SetOut(&out)
	if err := cmd.Execute(); err != nil || out.String() != "[]\n" {
		t.Errorf("%v, %q", err, &out)
	}
}
