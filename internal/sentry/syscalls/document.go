package syscalls

import (
	"bytes"
	"fmt"
	"strings"
)

// String is the level's word in docs/syscalls.md.
func (s Support) String() string {
	switch s {
	case Full:
		return "full"
	case Partial:
		return "partial"
	default:
		return "missing"
	}
}

// Document renders docs/syscalls.md: how many calls there are at each level of
// support, and all of them with their caveats.
func (tb *Table) Document() []byte {
	count := map[Support]int{}
	rows := tb.Rows()
	for _, r := range rows {
		count[r.Support]++
	}
	var b bytes.Buffer
	b.WriteString("# System calls\n\n")
	b.WriteString("Generated from the table in `internal/sentry/syscalls`; do not edit. To bring it up to date:\n\n")
	b.WriteString("    go run ./internal/tools/syscalldoc > docs/syscalls.md\n\n")
	fmt.Fprintf(&b, "Of the %d calls of Linux's amd64 table, %d are answered: %d in full, as their manual pages say, and %d\n"+
		"in part, with the caveat beside them. The other %d return ENOSYS; `coffer do --trace` marks them.\n\n",
		len(rows), count[Full]+count[Partial], count[Full], count[Partial], count[Missing])
	b.WriteString("| number | name | support | caveat |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", r.Number, r.Name, r.Support, strings.ReplaceAll(r.Caveat, "|", `\|`))
	}
	return b.Bytes()
}
