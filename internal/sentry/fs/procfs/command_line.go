package procfs

import (
	"bytes"

	"coffer/internal/sentry/kernel"
)

// CommandLine is a process's arguments for a list of processes, in at most max
// bytes, with spaces between; without any it is the name in brackets, as ps(1)
// has it.
func CommandLine(g *kernel.ThreadGroup, max int) string {
	t := g.Representative()
	if t == nil {
		t = g.Leader()
	}
	if m, _, _ := t.Resources(); m != nil {
		if i := m.Info(); i.ArgStart != 0 && i.ArgStart < i.ArgEnd {
			args := make([]byte, min(i.ArgEnd-i.ArgStart, uint64(max)))
			n, _ := m.ReadRemote(i.ArgStart, args)
			args = bytes.TrimRight(args[:n], "\x00")
			if len(args) > 0 {
				return string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))
			}
		}
	}
	return "[" + t.Comm() + "]"
}
