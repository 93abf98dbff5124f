package boot

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"coffer/internal/scm"

	"golang.org/x/sys/unix"
)

// Bounds of what goes over a control connection, in bytes. A request may hold
// all that execve(2) takes as arguments and environment; a list, all processes
// that there can be; another reply, an error.
const (
	RequestMax = 32 << 20
	ListMax    = 16 << 20
	ReplyMax   = 64 << 10
	// commandMax bounds requests on a held connection, signals and sizes.
	commandMax = 1 << 10
)

const (
	headerSize = 4
	// wholeMax is the longest message that Linux queues as a whole: once there is some of it, there is all.
	wholeMax = 4 << 10
	// chunk is how much is read at once: a header that promises much must not
	// take memory before it is there.
	chunk = 64 << 10
	// rightsMax is how many descriptors one message can carry (SCM_MAX_FD).
	rightsMax = 253
	// donationMax is how many may come with one request.
	donationMax = 2 + mountsMax + 3 + extraMax
)

// Conn is one end of a control connection: documents in JSON, each with its
// length before it (32 bits, little-endian), and descriptors.
type Conn struct {
	f   *os.File
	raw syscall.RawConn
}

// NewConn makes a Conn of a stream socket that does not block. It takes over
// the descriptor.
func NewConn(fd int) (*Conn, error) {
	f := os.NewFile(uintptr(fd), "control connection")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Conn{f, raw}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.f.Close() }

// File is the connection's descriptor, for another process to be given; it
// still belongs to c.
func (c *Conn) File() *os.File { return c.f }

// SetDeadline bounds what is done from now on; os.ErrDeadlineExceeded.
func (c *Conn) SetDeadline(t time.Time) error { return c.f.SetDeadline(t) }

// Send sends a document and descriptors, which the caller keeps.
func (c *Conn) Send(doc any, fds ...int) error {
	body, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	msg := binary.LittleEndian.AppendUint32(make([]byte, 0, headerSize+len(body)), uint32(len(body)))
	msg = append(msg, body...)
	// Descriptors go with the first bytes, as many as one message carries with
	// each. There are more bytes than that takes: each descriptor is in the
	// document.
	for len(fds) > 0 {
		some := fds[:min(len(fds), rightsMax)]
		rights := unix.UnixRights(some...)
		err := c.once(c.raw.Write, func(fd int) error {
			n, err := unix.SendmsgN(fd, msg[:1], rights, nil, unix.MSG_NOSIGNAL)
			msg = msg[max(n, 0):]
			return err
		})
		if err != nil {
			return err
		}
		fds = fds[len(some):]
	}
	_, err = c.f.Write(msg)
	return err
}

// once makes a call that does not block until it is done.
func (c *Conn) once(wait func(func(uintptr) bool) error, call func(fd int) error) error {
	var err error
	werr := wait(func(fd uintptr) bool {
		for {
			if err = call(int(fd)); err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if werr != nil {
		return werr
	}
	return err
}

// errTooLong is why a message is not read.
var errTooLong = errors.New("the message is longer than there can be any")

// Receive reads one document of at most limit bytes. Descriptors that come
// with it are refused: nobody but a server is given any. io.EOF says that the
// other end is gone.
func (c *Conn) Receive(doc any, limit int) error {
	return receive(c.f, doc, limit)
}

// receiveWith reads one document and the descriptors that come with it, which
// are the caller's, also if there is an error.
func (c *Conn) receiveWith(doc any, limit int) (fds []int, err error) {
	r := &rightsReader{c: c}
	err = receive(r, doc, limit)
	return r.fds, err
}

// hasWhole reports whether a message is there as a whole, which does not come with descriptors: to
// receive it takes no time. Of longer ones it does not know.
func (c *Conn) hasWhole() bool {
	var header [headerSize]byte
	n := 0
	err := c.raw.Control(func(fd uintptr) {
		// With descriptors the first byte comes by itself.
		n, _, _, _, _ = unix.Recvmsg(int(fd), header[:], nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && n == headerSize && binary.LittleEndian.Uint32(header[:]) <= wholeMax-headerSize
}

func receive(r io.Reader, doc any, limit int) error {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err
	}
	size := int64(binary.LittleEndian.Uint32(header[:]))
	if size > int64(limit) {
		return errTooLong
	}
	body := make([]byte, 0, min(size, chunk))
	for int64(len(body)) < size {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		part := body[len(body):min(int64(cap(body)), size)]
		n, err := r.Read(part)
		body = body[:len(body)+n]
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	if err := json.Unmarshal(body, doc); err != nil {
		return fmt.Errorf("the message is not what it should be: %w", err)
	}
	return nil
}

// rightsReader reads a connection and collects the descriptors that come.
type rightsReader struct {
	c   *Conn
	fds []int
}

func (r *rightsReader) Read(p []byte) (n int, err error) {
	oob := make([]byte, scm.Space(rightsMax))
	var flags, oobn int
	err = r.c.once(r.c.raw.Read, func(fd int) (err error) {
		n, oobn, flags, _, err = unix.Recvmsg(fd, p, oob, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if err != nil {
		return 0, err
	}
	fds, err := scm.Descriptors(oob[:oobn])
	r.fds = append(r.fds, fds...)
	if err != nil {
		return 0, err
	}
	switch {
	case flags&unix.MSG_CTRUNC != 0:
		return 0, errors.New("descriptors were lost: the limit on open files is reached")
	case len(r.fds) > donationMax:
		return 0, fmt.Errorf("more than %d descriptors came", donationMax)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
