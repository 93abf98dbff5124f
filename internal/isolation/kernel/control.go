package kernel

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"

	"golang.org/x/sys/unix"
)

// A guest may have taken the sentry over, so nothing that comes from it is
// trusted: lines are bounded, codes and statuses are those that there can be.

// lineMax is the longest line that a sentry may send. An error message is the
// longest there is.
const lineMax = 64 << 10

// awaitStart waits for the first event.
func (s *Sandbox) awaitStart() error {
	m, err := s.next()
	if err == nil && m.Op == "started" {
		return nil
	}
	if err == nil && m.Op == "error" {
		s.kill()
		return told(m.Code, m.Error)
	}
	if err == nil {
		err = fmt.Errorf("it sent %q", m.Op)
	}
	if errors.Is(err, io.EOF) {
		s.reap()
		err = s.end()
	}
	s.kill()
	return fmt.Errorf("the sentry ended before the program started: %w", err)
}

// next reads one event.
func (s *Sandbox) next() (m boot.Message, err error) {
	line, err := s.events.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return m, fmt.Errorf("a message is longer than %d bytes", lineMax)
	}
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(line, &m)
}

// refusal is an error that a sentry has told.
type refusal string

func (r refusal) Error() string { return string(r) }

// told makes an error of what a sentry tells: an isolation.ProgramError if the code
// is one of those, and a refusal in any case.
func told(code int, message string) error {
	err := refusal(printable(message[:min(len(message), errorMax)]))
	if code == codeNotExecutable || code == codeNotFound {
		return &isolation.ProgramError{Code: code, Err: err}
	}
	return err
}

// The exit codes that a shell has for programs that cannot be run.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

// ended checks the wait status of a program that has ended.
func ended(status int) (unix.WaitStatus, error) {
	w := unix.WaitStatus(status)
	if status < 0 || status > 0xffff || !w.Exited() && !w.Signaled() {
		return 0, fmt.Errorf("the sentry says that its program ended with status %#x, which is none", status)
	}
	return w, nil
}
