// Command coffer runs programs behind a wall of the user's choice. See
// internal/cli for its commands.
package main

import (
	"os"

	"coffer/internal/cli"
	_ "coffer/internal/entropy" // tells of a host without random numbers before others panic
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
