package stub

import (
	"syscall"
	"unsafe"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// copyMax is the most that a thread's own stub copies by way of the slot's window: beyond
// it the host's copy is cheaper.
const copyMax = 16 << 10

// remoteIovec is struct iovec of another process.
type remoteIovec struct {
	base, length uint64
}

// CopyIn implements platform.AddressSpace.
func (p *Process) CopyIn(addr uint64, dst []byte) (int, error) {
	n, err := p.CopyInRaw(addr, dst)
	p.read(addr, dst[:n])
	return n, err
}

// CopyInRaw is CopyIn that shows code as it is, rewritten.
func (p *Process) CopyInRaw(addr uint64, dst []byte) (int, error) {
	return p.transfer(unix.SYS_PROCESS_VM_READV, addr, dst)
}

// read makes what was read at addr what the guest put there.
func (p *Process) read(addr uint64, b []byte) {
	if p.OnRead != nil && len(b) > 0 {
		p.OnRead(addr, b)
	}
}

// CopyOut implements platform.AddressSpace.
func (p *Process) CopyOut(addr uint64, src []byte) (int, error) {
	return p.transfer(unix.SYS_PROCESS_VM_WRITEV, addr, src)
}

// transfer copies by process_vm_readv(2) or process_vm_writev(2), which honour
// the guest's protections and stop at the first page that is not there.
func (p *Process) transfer(nr uintptr, addr uint64, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	limits := &p.stubs.limits
	if addr >= limits.Max || p.gone.Load() {
		return 0, unix.EFAULT
	}
	n := int(min(uint64(len(b)), limits.Max-addr))
	done, err := p.copyRemote(nr, addr, b[:n])
	if err != nil || n < len(b) {
		// ESRCH when the stub is gone: its memory is not there either.
		return done, unix.EFAULT
	}
	return n, nil
}

// copyRemote copies all of b, which is not empty, from or to an address that is
// not checked. It returns how much it copied, and the host's errno if that is
// not all.
func (p *Process) copyRemote(nr uintptr, addr uint64, b []byte) (int, error) {
	if !p.hasPID() {
		return 0, unix.ESRCH
	}
	return copyRemote(p.pid, nr, addr, b)
}

// copyRemote is Process.copyRemote for whatever process has the PID.
func copyRemote(pid int, nr uintptr, addr uint64, b []byte) (int, error) {
	done := 0
	for done < len(b) {
		local := unix.Iovec{Base: &b[done], Len: uint64(len(b) - done)}
		remote := remoteIovec{addr + uint64(done), uint64(len(b) - done)}
		r, _, e := syscall.Syscall6(nr, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1,
			uintptr(unsafe.Pointer(&remote)), 1, 0)
		switch {
		case e == syscall.EINTR:
		case e != 0:
			return done, e
		case r == 0:
			return done, unix.EFAULT
		default:
			done += int(r)
		}
	}
	return done, nil
}

// CopyIn implements platform.Context.
func (t *Thread) CopyIn(addr uint64, dst []byte) (int, error) {
	if len(dst) > 0 && t.copyFetched(addr, dst) {
		t.proc.read(addr, dst)
		return len(dst), nil
	}
	done := 0
	if len(dst) > platform.FetchMax || t.bringing.n > 0 {
		if done = t.copyBrought(addr, dst); done > 0 {
			t.proc.read(addr, dst[:done])
		}
		if done == len(dst) {
			return done, nil
		}
	}
	t.bulk.moved += len(dst) - done
	t.Settle() // late results too: a tracer reads what a call has written
	n, err := t.pass(opCopyIn, addr+uint64(done), dst[done:])
	if n > 0 {
		t.proc.read(addr+uint64(done), dst[done:done+n])
	}
	if done += n; done == len(dst) || err != nil {
		return done, err
	}
	n, err = t.proc.CopyIn(addr+uint64(done), dst[done:])
	return done + n, err
}

// CopyOut implements platform.Context.
func (t *Thread) CopyOut(addr uint64, src []byte) (int, error) {
	t.forgetFetched()
	t.bulk.moved += len(src)
	t.bulk.written += len(src)
	t.Settle() // what was written before it must not come after it
	done, err := t.pass(opCopyOut, addr, src)
	if done == len(src) || err != nil {
		return done, err
	}
	n, err := t.proc.CopyOut(addr+uint64(done), src[done:])
	return done + n, err
}

// pass has the stub copy b, as long as that takes less than the host's copy. It returns how
// much that was, and EFAULT if there is no more. What was read may show code as it is,
// rewritten.
func (t *Thread) pass(op uint64, addr uint64, b []byte) (done int, err error) {
	for done < len(b) && t.prompt() && t.inLimits(addr, len(b)) {
		t.enter()
		t.want(len(b) - done)
		n := t.passes(len(b) - done)
		if n == 0 {
			t.leave()
			break
		}
		if op == opCopyOut {
			copy(t.win.bytes, b[done:done+n])
		}
		o := t.add(op, addr+uint64(done), uint64(n), t.win.offset)
		got := 0
		if t.run() {
			got = t.copied(o, n)
		}
		if op == opCopyIn {
			copy(b[done:], t.win.bytes[:got])
		}
		t.leave()
		if done += got; got < n {
			return done, unix.EFAULT
		}
	}
	return done, nil
}

// passes is how many of n bytes the stub copies at a time; 0 if the host is to copy them.
func (t *Thread) passes(n int) int {
	if n <= copyMax {
		return n
	}
	if t.win.staged == 0 {
		return 0
	}
	return min(n, len(t.win.bytes))
}

// copied returns how much of n bytes a copying operation did.
func (t *Thread) copied(o int, n int) int {
	left := t.page.ops[o].result
	if t.page.fault != 0 && left == 0 {
		left = uint64(n)
	}
	return n - int(min(left, uint64(n)))
}

// inLimits reports whether n bytes at addr are the guest's.
func (t *Thread) inLimits(addr uint64, n int) bool {
	limits := &t.proc.stubs.limits
	return addr < limits.Max && limits.Max-addr >= uint64(n)
}

// CompareAndSwap32 implements platform.Context. EFAULT for an address that is
// not a multiple of 4: a word across two cache lines would stall the host.
func (t *Thread) CompareAndSwap32(addr uint64, old, new uint32) (uint32, error) {
	t.settle()
	if addr%4 != 0 || !t.inLimits(addr, 4) {
		return 0, unix.EFAULT
	}
	t.enter()
	defer t.leave()
	o := t.add(opSwap, addr, uint64(old), uint64(new))
	if !t.run() || t.page.fault != 0 {
		return 0, unix.EFAULT
	}
	return uint32(t.page.ops[o].result), nil
}

// Poke implements platform.AddressSpace.
func (p *Process) Poke(addr uint64, src []byte) (int, error) {
	done := 0
	for done < len(src) {
		at := addr + uint64(done)
		part := src[done:min(len(src), done+int(PageSize-at%PageSize))]
		n, err := p.CopyOut(at, part)
		if err != nil {
			n, err = p.pokeProtected(at, part)
		}
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// pokeProtected writes to one page that the guest may not write to: a thread
// lifts the protection meanwhile.
func (p *Process) pokeProtected(addr uint64, src []byte) (int, error) {
	m, ok := p.mappingAt(addr)
	if !ok || !m.Private {
		return 0, unix.EFAULT
	}
	t := p.borrow()
	if t == nil {
		return 0, unix.EBUSY
	}
	defer t.leave()
	t.runLate()
	return t.pokePage(addr, src, m.Prot)
}

// pokePage writes to one page with protection prot. The caller has entered t.
func (t *Thread) pokePage(addr uint64, src []byte, prot int32) (int, error) {
	return t.pokeWithin(addr&^(PageSize-1), PageSize, addr, src, prot)
}

// pokeWithin writes to addr in [start, start+length), whole pages with
// protection prot. The caller has entered t.
func (t *Thread) pokeWithin(start, length, addr uint64, src []byte, prot int32) (int, error) {
	copy(t.slotWindow(), src)
	t.add(unix.SYS_MPROTECT, start, length, uint64(prot)|unix.PROT_READ|unix.PROT_WRITE)
	o := t.add(opCopyOut, addr, uint64(len(src)), windowOffset)
	t.add(unix.SYS_MPROTECT, start, length, uint64(prot))
	if !t.run() {
		return 0, unix.EFAULT
	}
	if n := t.copied(o, len(src)); n < len(src) {
		return n, unix.EFAULT
	}
	return len(src), nil
}

// borrow enters a thread that is not running, or returns nil.
func (p *Process) borrow() *Thread {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.threads {
		if t.borrowable && t.state.CompareAndSwap(stateIdle, stateEntered) {
			return t
		}
	}
	return nil
}
