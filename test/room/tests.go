package room

import (
	"errors"
	"fmt"
	"os"
)

// envTmp tells tests in a room which directory for files they have.
const envTmp = "COFFER_ROOM_TMP"

// Tmp is the directory for files, in memory, of tests that Tests runs in a room; it is
// empty outside of one.
func Tmp() string { return os.Getenv(envTmp) }

// Forbidden says why Tests has run the tests of root in no room, or is nil: those that
// need one are skipped then.
var Forbidden error

// Tests runs a package's tests, and exits. It is what TestMain does after Main, with the
// Run of its testing.M. Those of root run in a room that engines and the like can use:
// with a network of its own, and in which directories that they write to keep nothing.
// The tests of others, who can make no room, run where they are.
func Tests(run func() int) {
	if Tmp() != "" || os.Geteuid() != 0 {
		os.Exit(run())
	}
	code, err := inRoom()
	if errors.Is(err, ErrForbidden) {
		Forbidden = err
		os.Exit(run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "running tests in a room:", err)
		code = 1
	}
	os.Exit(code)
}

// inRoom runs this program again, in a room.
func inRoom() (code int, err error) {
	dir, err := os.MkdirTemp("", "coffer-room")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	os.Setenv(envTmp, dir)
	os.Setenv("TMPDIR", dir)
	return Run(Options{Tmp: dir, Network: true, Discard: []string{"/etc", "/opt", "/var"}}, os.Args[1:]...)
}
