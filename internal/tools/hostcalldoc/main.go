// Command hostcalldoc writes docs/hostcalls.md to standard output:
//
//	go run ./internal/tools/hostcalldoc > docs/hostcalls.md
package main

import (
	"os"

	"coffer/internal/sentry/boot"
)

func main() {
	if _, err := os.Stdout.Write(boot.Document()); err != nil {
		os.Stderr.WriteString("hostcalldoc: " + err.Error() + "\n")
		os.Exit(1)
	}
}
