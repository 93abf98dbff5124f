package gateway

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"coffer/internal/egress"
	"coffer/internal/link"

	"golang.org/x/sys/unix"
)

// newPolicy makes the policy that a description asks for; nil permits all. It must be
// called before the helper's walls are raised: it asks what standard error is.
func newPolicy(d *description) *egressPolicy {
	if d.Egress == nil {
		return nil
	}
	var log *egress.Log
	if d.EgressLog != 0 {
		log = egress.NewLog(os.NewFile(uintptr(d.EgressLog), "egress log"), true, time.Now)
	} else {
		log = egress.NewLog(terminalLines(os.Stderr), false, time.Now)
	}
	p := newEgressPolicy(d.Egress, d.Hosts, log, time.Now)
	var listers []*addressLister
	for _, fd := range d.Addresses {
		listers = append(listers, &addressLister{fd: fd})
	}
	p.hostAddresses = func() (own, local []netip.Prefix, err error) { return listAll(listers) }
	return p
}

// givePolicy has the helper get what a policy needs, and returns the helper's end of
// Questions.
func (g *Gateway) givePolicy() (theirs *os.File, err error) {
	d := &g.description
	if g.Questions, theirs, err = link.Pair(); err != nil {
		return nil, err
	}
	d.Questions = g.give(theirs)
	if log := g.config.EgressLog; log != nil {
		fd, err := unix.FcntlInt(log.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("giving the gateway its egress log: %w", err)
		}
		d.EgressLog = g.give(os.NewFile(uintptr(fd), "egress log"))
	}
	// The host's own addresses are those where coffer runs, and those where the
	// gateway's sockets live.
	open := func() error {
		f, err := openAddresses()
		if err == nil {
			d.Addresses = append(d.Addresses, g.give(f))
		}
		return err
	}
	if err := open(); err != nil {
		return nil, err
	}
	if g.config.Namespace != nil {
		if err := g.inNamespace(open); err != nil {
			return nil, err
		}
	}
	return theirs, nil
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
