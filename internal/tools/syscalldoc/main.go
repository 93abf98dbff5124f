// Command syscalldoc writes docs/syscalls.md to standard output:
//
//	go run ./internal/tools/syscalldoc > docs/syscalls.md
package main

import (
	"os"

	"coffer/internal/sentry/syscalls"
)

func main() {
	if _, err := os.Stdout.Write(syscalls.New().Document()); err != nil {
		os.Stderr.WriteString("syscalldoc: " + err.Error() + "\n")
		os.Exit(1)
	}
}
