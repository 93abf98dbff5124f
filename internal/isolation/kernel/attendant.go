package kernel

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"coffer/internal/sentry/boot"
	"coffer/internal/textpages"

	"golang.org/x/sys/unix"
)

// AttendantRole is the argument with which the program executes itself as an
// attendant.
const AttendantRole = "attendant"

// withTerminal is the argument of an attendant that has a terminal.
const withTerminal = "terminal"

// Attend is an attendant's main: it passes on the signals that it gets, and
// returns the status of the process that it attends to, once that has ended.
func Attend(args []string) int {
	// Whoever waits for it signals it from now on as if it were the process.
	// SIGURG is the Go runtime's own.
	sigs := make(chan os.Signal, 64)
	signal.Notify(sigs)
	life := os.NewFile(fdLife, "life")
	if _, err := life.Write([]byte{0}); err != nil {
		return 125
	}
	if n, _ := life.Read(make([]byte, 1)); n != 1 {
		return 125 // who started it has gone, and the process goes with it
	}
	life.Close()
	conn, err := boot.NewConn(fdAttended)
	if err != nil {
		fmt.Fprintln(os.Stderr, "coffer:", err)
		return 125
	}
	var terminal *os.File
	if len(args) > 0 && args[0] == withTerminal {
		terminal = os.NewFile(fdTerminal, "terminal")
	}
	go passOn(conn, sigs, terminal)
	textpages.ReleaseLater()
	reply := new(boot.Reply)
	if err := conn.Receive(reply, boot.ReplyMax); err != nil {
		// The sentry has ended, and by that all its processes.
		return exitSignaled + int(unix.SIGKILL)
	}
	status, err := ended(reply.Status)
	switch {
	case err != nil || !reply.Ended:
		return 125
	case status.Signaled():
		return exitSignaled + int(status.Signal())
	}
	return status.ExitStatus()
}

// exitSignaled is what a shell adds to the signal that ended a program.
const exitSignaled = 128

// passOn passes on signals, and the terminal's new size. It begins with the size,
// which may have changed before anybody listened.
func passOn(conn *boot.Conn, sigs <-chan os.Signal, terminal *os.File) {
	if terminal != nil {
		passSizeOn(conn, terminal)
	}
	for sig := range sigs {
		n := sig.(syscall.Signal)
		switch {
		case n == unix.SIGURG, n == unix.SIGCHLD, n == unix.SIGPIPE:
		case n == unix.SIGWINCH && terminal != nil:
			passSizeOn(conn, terminal)
		default:
			// It fails when the sentry has ended, which is seen elsewhere.
			_ = conn.Send(&boot.Request{Op: boot.OpSignal, Signal: int(n)})
		}
	}
}

// passSizeOn passes on a terminal's size, if it has one.
func passSizeOn(conn *boot.Conn, terminal *os.File) {
	if rows, cols, err := sizeOf(terminal); err == nil && rows|cols != 0 {
		_ = conn.Send(&boot.Request{Op: boot.OpResize, Rows: rows, Cols: cols}) // likewise
	}
}
