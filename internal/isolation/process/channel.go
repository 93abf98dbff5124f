package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"coffer/internal/scm"

	"golang.org/x/sys/unix"
)

// A channel joins init and whoever tells it what to do: the coffer that makes
// the container or execs in it, and later the one that starts it. It is a
// socket that keeps the borders of messages (SOCK_SEQPACKET); a message is
// JSON, since another version may start the container, but for the instructions;
// and it may bring open files along. One too large for the socket lies in a file
// in memory, which is sent in its stead.
//
// What init sends is not trusted by its parent: a container that it joins may
// have got hold of it. So both sides bound what they take.
type channel struct{ fd int }

const (
	// inlineMax is up to which size a message goes through the socket itself.
	// Linux's default for a socket's buffer is 212,992 bytes.
	inlineMax = 32 << 10
	// payloadMax bounds what init takes, in bytes. oci.Read allows
	// configurations of 8 MiB, and these are written again.
	payloadMax = 32 << 20
	// filesMax is how many files one message may bring (SCM_MAX_FD of Linux).
	filesMax = 253
)

// How a message travels: its first byte.
const (
	travelsInline = 'i'
	travelsInFile = 'f' // in the first file that comes along
)

// newChannel returns the two ends of a channel.
func newChannel() (ours, theirs channel, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ours, theirs, fmt.Errorf("creating a socket for the container's init: %w", err)
	}
	return channel{fds[0]}, channel{fds[1]}, nil
}

func (c channel) close() { unix.Close(c.fd) }

// open reports whether the other side has not closed its end, nor ended.
func (c channel) open() (bool, error) {
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	err := ignoreEINTR(func() error {
		_, err := unix.Poll(fds, 0)
		return err
	})
	return fds[0].Revents&(unix.POLLHUP|unix.POLLERR) == 0, err
}

// send sends a message with files, which the caller still closes.
func (c channel) send(m any, files ...*os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return c.sendBytes(b, files...)
}

// sendBytes is send for what has its form already.
func (c channel) sendBytes(b []byte, files ...*os.File) error {
	fds := make([]int, 0, len(files)+1)
	data := append([]byte{travelsInline}, b...)
	if len(b) > inlineMax {
		f, err := sealedFile("message", 0o600, func(f *os.File) error {
			_, err := f.Write(b)
			return err
		})
		if err != nil {
			return err
		}
		defer f.Close()
		data, fds = []byte{travelsInFile}, append(fds, int(f.Fd()))
	}
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if len(fds) > filesMax {
		return fmt.Errorf("%d open files are more than the %d that one message takes", len(fds), filesMax)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	return ignoreEINTR(func() error { return unix.Sendmsg(c.fd, data, rights, nil, unix.MSG_NOSIGNAL) })
}

// receive takes a message. The files that came along are close-on-exec, and
// the caller closes them. It fails with io.EOF if the other side has closed
// its end.
func (c channel) receive(m any) ([]*os.File, error) {
	return c.receiveUpTo(payloadMax, m)
}

// receiveInline is receive for those who don't trust the sender with memory.
func (c channel) receiveInline(m any) ([]*os.File, error) {
	return c.receiveUpTo(0, m)
}

func (c channel) receiveUpTo(fileMax int64, m any) ([]*os.File, error) {
	text, files, err := c.receiveBytes(fileMax)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, m); err != nil {
		closeAll(files)
		return nil, fmt.Errorf("a message is not in the form that it should have: %w", err)
	}
	return files, nil
}

// receiveBytes is receive without the form. What is larger than inlineMax lies in a file, of
// fileMax bytes at most.
func (c channel) receiveBytes(fileMax int64) (text []byte, files []*os.File, err error) {
	data := make([]byte, 1+inlineMax)
	rights := make([]byte, scm.Space(filesMax))
	var n, rn, flags int
	err = ignoreEINTR(func() (err error) {
		n, rn, flags, _, err = unix.Recvmsg(c.fd, data, rights, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if err != nil {
		if errors.Is(err, unix.ECONNRESET) { // it was closed with a message unread
			err = io.EOF
		}
		return nil, nil, err
	}
	fds, err := scm.Descriptors(rights[:rn])
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "received"))
	}
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	if err != nil {
		return nil, files, err
	}
	if n == 0 {
		return nil, files, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return nil, files, errors.New("a message was cut off: it is too large, or the limit on open files was reached")
	}
	text = data[1:n]
	if data[0] == travelsInFile {
		if len(files) == 0 || fileMax == 0 {
			return nil, files, errors.New("a message is in a file where none is expected")
		}
		text, err = io.ReadAll(io.NewSectionReader(files[0], 0, fileMax))
		files[0].Close()
		files = files[1:]
		if err != nil {
			return nil, files, err
		}
	} else if data[0] != travelsInline {
		return nil, files, fmt.Errorf("a message begins with %#x, which means nothing", data[0])
	}
	return text, files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// ignoreEINTR calls f until no signal interrupts it.
func ignoreEINTR(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
