// Command coffer runs programs behind a wall of the user's choice. See
// internal/cli for its commands.
package main

import (
	"os"

	"coffer/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
