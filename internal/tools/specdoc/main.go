// Command specdoc writes docs/kernel-wall-spec.md to standard output:
//
//	go run ./internal/tools/specdoc > docs/kernel-wall-spec.md
package main

import (
	"os"

	"coffer/internal/isolation/kernel"
)

func main() {
	if _, err := os.Stdout.Write(kernel.Document()); err != nil {
		os.Stderr.WriteString("specdoc: " + err.Error() + "\n")
		os.Exit(1)
	}
}
