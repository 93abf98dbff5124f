package boot

import (
	"bytes"
	"fmt"
	"strings"

	"coffer/internal/gateway"
	"coffer/internal/link"
	"coffer/internal/seccomp"
	"coffer/internal/sentry/platform/stub"
	"coffer/internal/sentry/socket/hostsock"
	"coffer/internal/sentry/syscalls"
)

// Document renders docs/hostcalls.md: every call that a sentry, a stub or a gateway can
// make to the host, and why.
func Document() []byte {
	d := document{table: syscalls.New()}
	d.WriteString("# Host calls\n\n" +
		"Generated from the seccomp tables in `internal/sentry/boot`, `internal/sentry/platform/stub`, `internal/gateway` and what they use; do not edit.\n" +
		"To bring it up to date:\n\n    go run ./internal/tools/hostcalldoc > docs/hostcalls.md\n\n" +
		"A call that is not here is not made: it ends the sentry, the stub or the gateway. Arguments count from 0; where\n" +
		"one call has several rows, one of them must hold. What each side may reach by these calls is drawn in\n" +
		"[security.md](security.md).\n")
	d.rules("The sentry: Go's runtime", runtimeCalls)
	d.rules("The sentry: donated files, and files in memory", fileCalls)
	d.rules("The sentry: donated terminals", terminalCalls())
	d.rules("The sentry: stubs", stubCalls)
	d.rules("The sentry: on the ptrace platform only", ptraceCalls)
	d.rules("The sentry: where it serves a container runtime's commands only", serverCalls)
	d.rules("The sentry: with the host's network only", hostsock.HostCalls())
	d.rules("The sentry: with network interfaces, or where a container runtime may add some, only", link.HostCalls())
	d.rules("The gateway, which ends the flows of a user network", gateway.HostCalls())
	d.heading("Stubs, and only from the stub's own code")
	for _, c := range stub.HostCalls() {
		when := ""
		if c.Arg >= 0 {
			var values []string
			for _, v := range c.Values {
				values = append(values, fmt.Sprintf("%#x", v))
			}
			when = fmt.Sprintf("argument %d is %s", c.Arg, strings.Join(values, " or "))
		}
		d.row(c.Number, when, c.Reason)
	}
	return d.Bytes()
}

// document is a page of tables.
type document struct {
	bytes.Buffer
	table *syscalls.Table
}

func (d *document) heading(title string) {
	fmt.Fprintf(d, "\n## %s\n\n| call | if | why |\n|---|---|---|\n", title)
}

func (d *document) row(call uint32, when, why string) {
	name := fmt.Sprint(call)
	if r := d.table.Row(uint64(call)); r != nil {
		name = r.Name
	}
	fmt.Fprintf(d, "| %s | %s | %s |\n", name, when, why)
}

func (d *document) rules(title string, rules []seccomp.Rule) {
	d.heading(title)
	last := ""
	for _, r := range rules {
		var when []string
		for _, a := range r.Args {
			when = append(when, condition(a))
		}
		if r.Reason != "likewise" {
			last = r.Reason
		}
		d.row(r.Call, strings.Join(when, ", "), last)
	}
}

func condition(a seccomp.Arg) string {
	if a.Mask == 0 || a.Mask == ^uint64(0) {
		return fmt.Sprintf("argument %d is %#x", a.Index, a.Value)
	}
	if a.Value == 0 {
		return fmt.Sprintf("argument %d has none of the bits %#x", a.Index, a.Mask)
	}
	return fmt.Sprintf("argument %d has of the bits %#x those of %#x", a.Index, a.Mask, a.Value)
}
