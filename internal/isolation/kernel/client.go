package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"

	"golang.org/x/sys/unix"
)

// answerPatience is how long a sentry may take to answer. It answers at once,
// unless the host is overloaded or the sandbox frozen; a sentry that a guest has
// taken over may never do.
const answerPatience = 30 * time.Second

// errorMax is how much of an error is shown that a sentry sends, in bytes.
const errorMax = 8 << 10

// errGone says that a sandbox's sentry has ended, errBrokenOff that it did while
// it was being asked.
var (
	errGone      = errors.New("the sandbox has ended")
	errBrokenOff = fmt.Errorf("%w before it answered", errGone)
)

// dial connects to the sentry of the sandbox that a container is in.
func dial(c *isolation.Container) (*boot.Conn, error) {
	r, err := readRecord(c)
	if err != nil {
		return nil, err
	}
	return dialSandbox(r.sandboxDir(c.StateDir))
}

// dialSandbox connects to the sentry whose socket is in a directory.
func dialSandbox(dir string) (*boot.Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("asking the sandbox: %w", err)
	}
	// A frozen sentry accepts nothing, and its queue may be full.
	patience := unix.NsecToTimeval(answerPatience.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience)
	if err == nil {
		err = inDirectory(dir, socketName, func(short string) error {
			return ignoringEINTR(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: short}) })
		})
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	switch {
	case err == nil:
		return boot.NewConn(fd)
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		err = errGone
	case errors.Is(err, unix.EAGAIN):
		err = errSilent
	default:
		err = fmt.Errorf("connecting to the sandbox's socket in %s: %w", dir, err)
	}
	unix.Close(fd)
	return nil, err
}

// errSilent says that a sentry lives and does not answer.
var errSilent = fmt.Errorf("the sandbox does not answer (waited %v): if it is paused, resume it; otherwise the host is very busy, or the sandbox out of order: end it with 'coffer kill ID KILL'", answerPatience)

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// ask sends a request about a container and returns the answer. Without an
// answer within patience it gives up; 0 is never.
func ask(c *isolation.Container, req *boot.Request, patience time.Duration) (*boot.Reply, error) {
	conn, err := dial(c)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	req.Container = c.ID
	return askOn(conn, req, nil, patience)
}

// frozen reports whether a container's cgroup is frozen: then its sandbox answers nobody.
func frozen(c *isolation.Container) bool {
	frozen, err := c.Cgroup.Frozen()
	return err == nil && frozen
}

// tell sends a request whose answer is none. Who is frozen finds it when he goes on.
func tell(c *isolation.Container, req *boot.Request) error {
	if frozen(c) {
		return leave(c, req)
	}
	_, err := ask(c, req, answerPatience)
	return err
}

// leave sends a request and does not wait for the answer.
func leave(c *isolation.Container, req *boot.Request) error {
	conn, err := dial(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	req.Container = c.ID
	if err := conn.SetDeadline(time.Now().Add(answerPatience)); err != nil {
		return err
	}
	return explainSilence(conn.Send(req))
}

// askOn asks on a connection that is there. The descriptors still belong to the
// caller.
func askOn(conn *boot.Conn, req *boot.Request, fds []int, patience time.Duration) (*boot.Reply, error) {
	if patience > 0 {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return nil, err
		}
		defer conn.SetDeadline(time.Time{})
	}
	reply := new(boot.Reply)
	err := conn.Send(req, fds...)
	if err == nil || errors.Is(err, unix.EPIPE) { // it may have said why
		limit := boot.ReplyMax
		if req.Op == boot.OpProcesses {
			limit = boot.ListMax
		}
		if rerr := conn.Receive(reply, limit); err == nil || rerr != nil {
			err = rerr
		}
	}
	if err != nil {
		return nil, explainSilence(err)
	}
	if reply.Error != "" {
		return nil, told(reply.Code, reply.Error)
	}
	return reply, nil
}

// explainSilence says in words why there is no answer.
func explainSilence(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return errBrokenOff
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	}
	return fmt.Errorf("asking the sandbox: %w", err)
}
