package loader

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/mm/mmtest"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// phdr is a program header to be written.
type phdr struct {
	typ, flags                              uint32
	offset, addr, fileSize, memSize, alignm uint64
}

// elfSpec describes an ELF file to be built.
type elfSpec struct {
	typ     uint16
	machine uint16
	entry   uint64
	phdrs   []phdr
	interp  string
	size    int // total size; the part after the headers is 0xAA
}

// interpOffset is where build puts the interpreter's name.
const interpOffset = 0x800

func (s elfSpec) build() []byte {
	var b bytes.Buffer
	le := binary.LittleEndian
	h := make([]byte, headerSize)
	copy(h, "\x7fELF\x02\x01\x01")
	le.PutUint16(h[16:], s.typ)
	if s.machine == 0 {
		s.machine = machineX64
	}
	le.PutUint16(h[18:], s.machine)
	le.PutUint64(h[24:], s.entry)
	le.PutUint64(h[32:], headerSize)
	if s.interp != "" {
		n := uint64(len(s.interp) + 1)
		s.phdrs = append([]phdr{{typ: ptInterp, offset: interpOffset, fileSize: n, memSize: n}}, s.phdrs...)
	}
	le.PutUint16(h[54:], phdrSize)
	le.PutUint16(h[56:], uint16(len(s.phdrs)))
	b.Write(h)
	for _, p := range s.phdrs {
		binary.Write(&b, le, []uint32{p.typ, p.flags})
		binary.Write(&b, le, []uint64{p.offset, p.addr, p.addr, p.fileSize, p.memSize, p.alignm})
	}
	out := b.Bytes()
	for len(out) < s.size {
		out = append(out, 0xAA)
	}
	if s.interp != "" {
		copy(out[interpOffset:], s.interp+"\x00")
	}
	return out
}

// bytesReader reads from a slice as a file would.
func bytesReader(b []byte) readAt {
	return func(p []byte, off int64) (int, error) {
		n, err := bytes.NewReader(b).ReadAt(p, off)
		if err == io.EOF {
			err = nil
		}
		return n, err
	}
}

// caller is a vfs.Caller without memory.
type caller struct{ cred *auth.Credentials }

func (c caller) Credentials() *auth.Credentials      { return c.cred }
func (c caller) Umask() uint32                       { return 0 }
func (c caller) FSLimit() uint64                     { return ^uint64(0) }
func (c caller) CopyIn(uint64, []byte) (int, error)  { return 0, unix.EFAULT }
func (c caller) CopyOut(uint64, []byte) (int, error) { return 0, unix.EFAULT }

var root = caller{auth.New(0, 0, nil)}

// stackLimit is a Limiter with the usual RLIMIT_STACK.
type stackLimit uint64

func (l stackLimit) Limit(resource int) uint64 {
	if resource == unix.RLIMIT_STACK {
		return uint64(l)
	}
	return ^uint64(0)
}

// world is a file system to execute from.
type world struct {
	t  *testing.T
	ns *vfs.MountNamespace
	o  vfs.Origin
}

func newWorld(t *testing.T) *world {
	ns := vfs.NewMountNamespace(tmpfs.New(tmpfs.Options{Mode: 0o755}), 0)
	p := ns.Root()
	return &world{t, ns, vfs.Origin{Root: p, Start: p}}
}

func (w *world) write(name string, content []byte, mode uint32) {
	w.t.Helper()
	f, err := w.ns.OpenAt(root, w.o, name, vfs.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC, Mode: mode})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := f.Write(root, content); err != nil {
		w.t.Fatal(err)
	}
	f.DecRef()
}

// open is what execve(2) does up to Open.
func (w *world) open(name string, argv, envv []string) (*Image, error) {
	f, err := OpenExecutable(root, w.ns, w.o, name, 0)
	if err != nil {
		return nil, err
	}
	defer f.DecRef()
	return Open(Args{
		Caller: root, Mounts: w.ns, Origin: w.o, File: f, Name: name, Argv: argv, Envv: envv,
		Limits: stackLimit(8 << 20), Max: mmtest.Limits.Max,
	})
}
