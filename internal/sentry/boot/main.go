package boot

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"coffer/internal/handover"
	"coffer/internal/link"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/platform"
	"coffer/internal/sysmon"
	"coffer/internal/textpages"
)

// The sentry's first descriptors, as package isolation/kernel lays them out.
const (
	fdDescription = 3
	fdControl     = 4
)

// control is the sentry's end of the control socket.
type control struct {
	mu sync.Mutex
	f  *os.File
	r  *bufio.Reader
}

// errorMax bounds an error's text, which may quote what the user gave: who
// reads it bounds its lines.
const errorMax = 4 << 10

// send writes an event. Who started the sentry may be gone.
func (c *control) send(m Message) error {
	if len(m.Error) > errorMax {
		m.Error = m.Error[:errorMax] + "..."
	}
	line, err := json.Marshal(m)
	if err != nil {
		panic(err) // Message always marshals
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.f.Write(append(line, '\n'))
	return err
}

// receive returns the next command. io.EOF says that the starter is gone.
func (c *control) receive() (m Message, err error) {
	line, err := c.r.ReadBytes('\n')
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(line, &m)
}

// sysmonSlack is how much later than asked for the host may wake Go's sysmon: it would
// take a processor from a stub each time, which cost programs that start others a tenth
// of their time and more.
const sysmonSlack = 200 * time.Microsecond

// Main is the sentry's process: it boots one sandbox, runs it to its end and
// returns the exit code of the process. It says only whether that worked, but
// for a sandbox with a server: there it is the first program's.
func Main() int {
	sysmon.Calm(sysmonSlack)
	// The sentry's heap is small; what matters is how seldom it is collected.
	debug.SetGCPercent(200)
	link.Quiet()
	ctl := &control{f: os.NewFile(fdControl, "control")}
	ctl.r = bufio.NewReader(ctl.f)
	code, err := run(ctl)
	if err != nil {
		code := exitFailed
		var pe *programError
		if errors.As(err, &pe) {
			code = pe.code
		}
		if ctl.send(Message{Op: "error", Error: err.Error(), Code: code}) != nil {
			fmt.Fprintln(os.Stderr, "coffer sentry is for coffer itself to start:", err)
		}
		return 1
	}
	return code
}

func run(ctl *control) (code int, err error) {
	box, err := readDescription()
	if err != nil {
		return 0, err
	}
	if m, err := ctl.receive(); err != nil || m.Op != "start" {
		return 0, fmt.Errorf("the sentry got %q (%v) where it expected to be told to start", m.Op, err)
	}
	if err := box.receiveNetwork(); err != nil {
		return 0, err
	}
	s, err := boot(box, endsSentry)
	if err != nil {
		return 0, Advise(err)
	}
	defer s.close()
	textpages.ReleaseLater()
	if s.served() {
		return s.serve(ctl)
	}
	s.first.task.Start()
	ctl.send(Message{Op: "started"})
	go s.obey(ctl)
	go s.kernel.Watch(os.Stderr)
	status, clean := s.wait()
	if clean {
		s.terminals.finish()
	}
	last := Message{Op: "exit", Status: int(status)}
	if c, ok := s.platform.(platform.Counter); ok {
		counts := c.Counts()
		last.Calls, last.Trapped = counts.Calls, counts.Trapped
	}
	ctl.send(last)
	return 0, nil
}

// lastOrders is how long processes have to end once the first one has. They
// need next to nothing, unless a guest has made very many or has left no
// memory; the host ends them all with the sentry.
const lastOrders = 5 * time.Second

// wait waits for the first process to end, and for the others, which end with
// it, as long as they may take. clean is false if some are left.
func (s *sandbox) wait() (status kernel.ExitStatus, clean bool) {
	ended := make(chan kernel.ExitStatus, 1)
	go func() { ended <- s.kernel.Wait() }()
	<-s.kernel.Done()
	select {
	case status = <-ended:
		return status, true
	case <-time.After(lastOrders):
		return s.first.task.ThreadGroup().Status(), false
	}
}

func readDescription() (*Sandbox, error) {
	f := os.NewFile(fdDescription, "description")
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the sandbox's description: %w", err)
	}
	box := new(Sandbox)
	if err := handover.Decode(data, box); err != nil {
		return nil, fmt.Errorf("the sandbox's description is not what it should be: %w", err)
	}
	if err := box.check(); err != nil {
		return nil, fmt.Errorf("the sandbox's description: %w", err)
	}
	return box, nil
}

// obey carries out the starter's commands. When the starter is gone, so is
// everything here.
func (s *sandbox) obey(ctl *control) {
	for {
		m, err := ctl.receive()
		if err != nil {
			s.kernel.KillAll()
			return
		}
		switch m.Op {
		case "signal":
			s.first.task.ThreadGroup().SignalFromHost(int32(m.Signal))
		case "resize":
			s.first.terminal.resize(m.Rows, m.Cols)
		}
	}
}
