package syscalls

import (
	"encoding/binary"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

func processVMRows() []Row {
	return []Row{
		full(310, "process_vm_readv", sysProcessVMReadv, P("pid", Dec), P("local_iov", OutIOVec), P("liovcnt", Unsigned),
			P("remote_iov", RangeVec), P("riovcnt", Unsigned), P("flags", Hex)),
		full(311, "process_vm_writev", sysProcessVMWritev, P("pid", Dec), P("local_iov", IOVec), P("liovcnt", Unsigned),
			P("remote_iov", RangeVec), P("riovcnt", Unsigned), P("flags", Hex)),
	}
}

// span is a struct iovec.
type span struct{ addr, length uint64 }

const maxSpans = 1024 // IOV_MAX

// readSpans reads an array of struct iovec. EINVAL if there are more than
// IOV_MAX, or they hold more than a ssize_t.
func readSpans(t *kernel.Task, addr, n uint64) ([]span, error) {
	if n > maxSpans {
		return nil, unix.EINVAL
	}
	raw := make([]byte, 16*n)
	if _, err := t.CopyIn(addr, raw); err != nil {
		return nil, err
	}
	out := make([]span, n)
	var total uint64
	for i := range out {
		out[i] = span{binary.LittleEndian.Uint64(raw[16*i:]), binary.LittleEndian.Uint64(raw[16*i+8:])}
		total += out[i].length
		if out[i].length > 1<<62 || total > 1<<62 {
			return nil, unix.EINVAL
		}
	}
	return out, nil
}

func sysProcessVMReadv(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return processVM(t, a, func(m *mm.MemoryManager, local, remote uint64, buf []byte) (int, error) {
		n, err := m.ReadRemote(remote, buf)
		k, e := t.CopyOut(local, buf[:n])
		if e != nil {
			err = e
		}
		return k, err
	})
}

func sysProcessVMWritev(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return processVM(t, a, func(m *mm.MemoryManager, local, remote uint64, buf []byte) (int, error) {
		n, err := t.CopyIn(local, buf)
		k, e := m.WriteRemote(remote, buf[:n])
		if e != nil {
			err = e
		}
		return k, err
	})
}

// remoteChunk is how much is moved at a time.
const remoteChunk = 64 << 10

// processVM moves bytes between the caller and another process piece by piece.
// What was moved before a bad address counts.
func processVM(t *kernel.Task, a kernel.Args, move func(m *mm.MemoryManager, local, remote uint64, buf []byte) (int, error)) (uintptr, error) {
	if a[5] != 0 {
		return 0, unix.EINVAL
	}
	local, err := readSpans(t, a[1], a[2])
	if err != nil {
		return 0, err
	}
	remote, err := readSpans(t, a[3], a[4])
	if err != nil {
		return 0, err
	}
	target := t.PIDs().Task(a.Int(0))
	if target == nil {
		return 0, unix.ESRCH
	}
	m, _, _ := target.Resources()
	if m == nil {
		return 0, unix.ESRCH
	}
	if target.ThreadGroup() != t.ThreadGroup() && t.MayTrace(target) != nil {
		return 0, unix.EPERM
	}
	var buf []byte
	var done uintptr
	for len(local) > 0 && len(remote) > 0 {
		l, r := &local[0], &remote[0]
		n := int(min(l.length, r.length, remoteChunk))
		if n > 0 {
			if len(buf) < n {
				buf = make([]byte, n)
			}
			k, err := move(m, l.addr, r.addr, buf[:n])
			done += uintptr(k)
			if err != nil {
				if done > 0 {
					err = nil
				}
				return done, err
			}
			l.addr, l.length = l.addr+uint64(n), l.length-uint64(n)
			r.addr, r.length = r.addr+uint64(n), r.length-uint64(n)
		}
		if l.length == 0 {
			local = local[1:]
		}
		if r.length == 0 {
			remote = remote[1:]
		}
	}
	return done, nil
}
