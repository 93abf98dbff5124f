package gateway

import (
	"io"
	"os"
	"time"

	"coffer/internal/egress"

	"golang.org/x/sys/unix"
)

// newPolicy makes the policy that a description asks for; nil permits all. It must be
// called before the helper's walls are raised.
func newPolicy(d *description) (*egressPolicy, error) {
	if d.Egress == nil {
		return nil, nil
	}
	addresses, err := newAddressLister()
	if err != nil {
		return nil, err
	}
	var log *egress.Log
	if d.EgressLog != 0 {
		log = egress.NewLog(os.NewFile(uintptr(d.EgressLog), "egress log"), true, time.Now)
	} else {
		log = egress.NewLog(terminalLines(os.Stderr), false, time.Now)
	}
	p := newEgressPolicy(d.Egress, d.Hosts, log)
	p.hostAddresses = addresses.list
	return p, nil
}

// terminalLines returns a writer whose lines begin at the left where the file is a
// terminal: the sandbox's may have it raw, without output processing (termios(3), OPOST).
func terminalLines(f *os.File) io.Writer {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return f
	}
	return rawTerminal{f}
}

type rawTerminal struct{ f *os.File }

// Write writes one line.
func (t rawTerminal) Write(line []byte) (int, error) {
	if _, err := t.f.Write(append(line[:len(line)-1:len(line)-1], '\r', '\n')); err != nil {
		return 0, err
	}
	return len(line), nil
}
