package kernel

import (
	"bytes"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// supportTexts say what the kinds of support mean, in the order in which they are
// explained.
var supportTexts = []struct {
	kind Support
	text string
}{
	{Inside, "the kernel behind the wall does it"},
	{ByHost, "the host's kernel does it, to the sandbox as a whole"},
	{Runtime, "Coffer itself does it, whatever the wall"},
	{NoEffect, "there is nothing that it could change; a warning says so"},
	{Refused, "an error that names the field"},
	{Foreign, "for other systems than Linux; passed over, as the specification says"},
}

// Document renders docs/kernel-wall-spec.md: what becomes of each field of a spec.
func Document() []byte {
	var d bytes.Buffer
	fmt.Fprintf(&d, "# The kernel wall and the OCI runtime specification\n\n"+
		"Generated from the table in `internal/isolation/kernel/spec_field.go`; do not edit. To bring it up to date:\n\n"+
		"    go run ./internal/tools/specdoc > docs/kernel-wall-spec.md\n\n"+
		"Behind the kernel wall a container's `config.json` is carried out by a kernel of its own. These are all fields\n"+
		"of the specification %s, and who does what they say:\n\n", specs.Version)
	for _, s := range supportTexts {
		fmt.Fprintf(&d, "- *%s*: %s.\n", s.kind, s.text)
	}
	d.WriteString("\n`[]` stands for each element of a list. What lies below a field is meant with it.\n\n| field | by | |\n|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(&d, "| %s | %s | %s |\n", f.Path, f.Support, f.Note)
	}
	return d.Bytes()
}
