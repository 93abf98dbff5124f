package kernel

import (
	"errors"
	"fmt"
	"os"

	"coffer/internal/console"
	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// donation collects the descriptors that a description speaks of, in their
// places.
type donation struct {
	files []*os.File
	own   []*os.File
}

// lend donates a file that stays the caller's, and returns its place.
func (d *donation) lend(f *os.File) int {
	d.files = append(d.files, f)
	return len(d.files) - 1
}

// give donates a file that is closed with the donation.
func (d *donation) give(f *os.File) int {
	d.own = append(d.own, f)
	return d.lend(f)
}

func (d *donation) close() {
	for _, f := range d.own {
		f.Close()
	}
}

func (d *donation) fds() []int {
	var list []int
	for _, f := range d.files {
		list = append(list, int(f.Fd()))
	}
	return list
}

// streams donates a process's open files. Its terminal, if it is to have one, is
// made here, and returned for the caller to close.
func (d *donation) streams(p *boot.Process, size *specs.Box, s *isolation.Streams) (*pty, error) {
	for i, f := range s.Extra {
		if err := checkStream(f, fdExtra+i); err != nil {
			return nil, err
		}
		p.Extra = append(p.Extra, d.lend(f))
	}
	if s.ConsoleSocket == nil {
		p.Console = -1
		for i, f := range s.Stdio {
			if f == nil {
				null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
				if err != nil {
					return nil, fmt.Errorf("a standard stream: %w", err)
				}
				p.Stdio[i] = d.give(null)
				continue
			}
			if err := checkStream(f, i); err != nil {
				return nil, err
			}
			p.Stdio[i] = d.lend(f)
		}
		return nil, nil
	}
	t, err := openPTY(size)
	if err != nil {
		return nil, err
	}
	p.Console = d.lend(t.slave)
	known := console.Size(size)
	p.Rows, p.Cols = known.Row, known.Col
	return t, nil
}

// fdExtra is the first of a program's descriptors after the standard streams.
const fdExtra = 3

// checkStream refuses a directory as the program's descriptor fd. Unlike one that
// is bound it is no mount by itself: from it a sentry that a guest has taken over
// would come to all of the host's files.
func checkStream(f *os.File, fd int) error {
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = errors.New("it is a directory, which no sandbox gets as an open file: bind it instead (--bind of 'coffer do', or mounts in config.json)")
	}
	if err != nil {
		return fmt.Errorf("descriptor %d of the program: %w", fd, err)
	}
	return nil
}
