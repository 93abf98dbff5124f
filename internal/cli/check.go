package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"coffer/internal/isolation/kernel"
	"coffer/internal/sentry/boot"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// ability is one row of `coffer check`.
type ability struct {
	Isolation string `json:"isolation"`
	Intercept string `json:"intercept,omitempty"`
	Works     bool   `json:"works"`
	// Reason says why not, and what to change.
	Reason string `json:"reason,omitempty"`
}

func newCheck() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "check",
		Short: "Show which isolations this host can run",
		Long: `Try each isolation and each way to intercept system calls on this host, by
really starting a sandbox, and say for those that don't work why, and what to
change. The exit status is 0 if the default (kernel, trap) works.`,
		Example: "  coffer check\n  coffer check --format json",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if format != "table" && format != "json" {
				return &exitError{exitUsage, fmt.Sprintf("--format %q is not known: it is table or json", format)}
			}
			rows := abilities()
			if err := printAbilities(c.OutOrStdout(), rows, format); err != nil {
				return err
			}
			for _, r := range rows {
				if r.Isolation == "kernel" && r.Intercept == "trap" && !r.Works {
					return &exitError{1, ""}
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&format, "format", "table", "table or json")
	c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func abilities() []ability {
	rows := []ability{}
	for _, p := range boot.Platforms() {
		r := ability{Isolation: "kernel", Intercept: p, Works: true}
		if err := tryKernel(p); err != nil {
			r.Works, r.Reason = false, err.Error()
		}
		rows = append(rows, r)
	}
	process := ability{Isolation: "process", Works: true}
	if err := tryProcess(); err != nil {
		process.Works, process.Reason = false, err.Error()
	}
	rows = append(rows,
		ability{Isolation: "kernel", Intercept: "kvm", Reason: "this version of Coffer does not have it yet"},
		process,
		ability{Isolation: "vm", Reason: "this version of Coffer does not have it yet" + kvmNote()})
	return rows
}

func kvmNote() string {
	if err := unix.Access("/dev/kvm", unix.R_OK|unix.W_OK); err != nil {
		return fmt.Sprintf("; it will need /dev/kvm, which cannot be used here (%v): load the kvm module and join the kvm group", err)
	}
	return ""
}

// tryKernel runs this very binary in a sandbox, as `coffer version`.
func tryKernel(intercept string) error {
	if err := boot.CheckHost(); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding coffer's own binary: %w", err)
	}
	bind, self, err := openMount(exe, "/tmp/coffer", false)
	if err != nil {
		return err
	}
	defer self.Close()
	root, err := openTree("/")
	if err != nil {
		return err
	}
	defer root.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("starting the sentry takes /dev/null: %w", err)
	}
	defer null.Close()
	box, err := kernel.Start(kernel.Config{
		Root: root, Mounts: []*os.File{self}, Stdio: [3]*os.File{null, null, null}, Log: null,
		Sandbox: boot.Sandbox{
			Intercept: intercept,
			Container: boot.Container{
				Hostname: "check", Mounts: []boot.Mount{bind},
				Process: boot.Process{Args: []string{"/tmp/coffer", "version"}, Cwd: "/"},
			},
		},
	})
	if err != nil {
		return err
	}
	status, err := box.Wait()
	if err != nil {
		return err
	}
	if status != 0 {
		return errors.New("a trial program failed in the sandbox: report this with the output of 'coffer do --trace --intercept " + intercept + " -- true'")
	}
	return nil
}

func printAbilities(w io.Writer, rows []ability, format string) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(rows)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ISOLATION\tINTERCEPT\tWORKS\tWHY NOT")
	for _, r := range rows {
		works := "yes"
		if !r.Works {
			works = "no"
		}
		intercept := r.Intercept
		if intercept == "" {
			intercept = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", r.Isolation, intercept, works, r.Reason)
	}
	return tw.Flush()
}
