package stub

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Clone starts another thread of the process, with a copy of the registers
// and of the extended state.
func (t *Thread) Clone() (*Thread, error) {
	t.settle()
	if n := t.revive(); n != nil {
		return n, nil
	}
	n, err := t.proc.newThread()
	if err != nil {
		return nil, err
	}
	t.enter()
	addr := n.slotAddr()
	tid, err := t.call(opThread, threadFlags, addr+SlotSize-64, 0, addr+uint64(unsafe.Offsetof(n.page.tid)), 0)
	t.leave()
	if err != nil || tid == 0 || tid > 1<<30 {
		atomic.StoreUint32(&n.page.tid, 0)
		t.proc.dropThread(n, true)
		if err == nil {
			err = unix.EAGAIN
		}
		return nil, cloneError(err)
	}
	n.tid = int(tid)
	n.inherit(t)
	return n, nil
}

// inherit copies the guest's registers from t.
func (n *Thread) inherit(t *Thread) {
	n.regs = t.regs
	n.fsBase = t.fsBase
	// The new one's own is its slot, which counts as 0: see stubStart.
	n.gsBase = 0
	if !n.proc.stubs.fsgsbase {
		n.gsBase = t.gsBase
	}
}

// cloneError is what the guest's own clone(2) would answer.
func cloneError(err error) error {
	if e, ok := err.(unix.Errno); ok && (e == unix.ENOMEM || e == unix.EAGAIN) {
		return e
	}
	return unix.EAGAIN
}

// Fork forks the process by this thread. The new one has one thread, with a
// copy of the registers and of the extended state.
func (t *Thread) Fork() (*Thread, error) {
	t.settle()
	t.proc.stubs.solo.several() // both soon, and who waits for the host meanwhile
	p, parcel, err := t.proc.stubs.newProcess()
	if err != nil {
		return nil, unix.EAGAIN
	}
	defer parcel.close()
	n, err := p.newThread()
	if err != nil {
		p.DecRef()
		return nil, err
	}
	template := t == t.proc.stubs.template
	if template {
		// It will wait in the pool.
		n.page.spin = 0
		n.stubTold = false
	}
	near := !template && !t.traced && t.proc.stubs.births.near()
	pid, err := t.forkInto(p, parcel, near)
	if err == nil {
		err = p.stubs.register(p, pid)
	}
	if err != nil {
		p.dropThread(n, false)
		p.DecRef()
		return nil, cloneError(err)
	}
	n.tid = pid
	n.inherit(t)
	if near {
		n.addAffinity(cpusAll)
		n.late = append(n.late, lateOp{at: -1})
	} else if !template {
		n.forked = cycles()
	}
	n.rseq = t.rseq // which the host's fork keeps, as the guest's does
	p.mu.Lock()
	p.refs-- // newProcess's; the thread's remains
	p.mu.Unlock()
	return n, nil
}

// forkInto has the host fork, and returns the PID that the stub claims. With near the new
// process begins on the processor of this one.
func (t *Thread) forkInto(p *Process, parcel parcel, near bool) (int, error) {
	q := t.proc
	q.opMu.Lock()
	defer q.opMu.Unlock()
	for {
		t.drainLocked()
		q.mu.Lock()
		if len(q.queue) == 0 {
			break
		}
		q.mu.Unlock()
	}
	// With the queue locked and empty, this is the next to be received.
	err := q.send(parcel.memfd, parcel.sock)
	q.mu.Unlock()
	if err != nil {
		return 0, err
	}
	t.enter()
	defer t.leave()
	r := t.add(opReceive)
	if near {
		t.addAffinity(cpusHere)
	}
	o := t.add(opFork, forkFlags, p.stubs.base, slotsSize)
	if near {
		t.addAffinity(cpusAll)
	}
	if !t.run() {
		return 0, errGone
	}
	if _, err := t.result(r); err != nil {
		return 0, err
	}
	pid, err := t.result(o)
	if err == nil && (pid == 0 || pid > 1<<30) {
		err = unix.EAGAIN
	}
	return int(pid), err
}

// send passes descriptors to the stub.
func (p *Process) send(fds ...int) error {
	var control [48]byte
	n := unix.CmsgLen(4 * len(fds))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(n)
	for i, fd := range fds {
		*(*int32)(unsafe.Pointer(&control[unix.CmsgLen(0)+4*i])) = int32(fd)
	}
	var b byte
	iov := unix.Iovec{Base: &b, Len: 1}
	msg := unix.Msghdr{Iov: &iov, Iovlen: 1, Control: &control[0]}
	msg.SetControllen(unix.CmsgSpace(4 * len(fds)))
	_, _, e := syscall.Syscall(syscall.SYS_SENDMSG, uintptr(p.sock), uintptr(unsafe.Pointer(&msg)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if e != 0 {
		return e
	}
	return nil
}
