package syscalls

import (
	"time"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func socketMessageRows() []Row {
	return []Row{
		full(44, "sendto", sysSendto, P("sockfd", FD), P("buf", Buf), P("len", Unsigned), PF("flags", Flags, msgFlags),
			P("dest_addr", Sockaddr), P("addrlen", Dec)),
		full(45, "recvfrom", sysRecvfrom, P("sockfd", FD), P("buf", OutBuf), P("len", Unsigned), PF("flags", Flags, msgFlags),
			P("src_addr", OutSockaddr), P("addrlen", InOutInt)),
		partial(46, "sendmsg", sysSendmsg, msgCaveat, P("sockfd", FD), P("msg", Msghdr), PF("flags", Flags, msgFlags)),
		partial(47, "recvmsg", sysRecvmsg, msgCaveat, P("sockfd", FD), P("msg", OutMsghdr), PF("flags", Flags, msgFlags)),
		partial(307, "sendmmsg", sysSendmmsg, msgCaveat, P("sockfd", FD), P("msgvec", Mmsghdrs), P("vlen", Unsigned), PF("flags", Flags, msgFlags)),
		partial(299, "recvmmsg", sysRecvmmsg, msgCaveat, P("sockfd", FD), P("msgvec", OutMmsghdrs), P("vlen", Unsigned), PF("flags", Flags, msgFlags),
			P("timeout", Timespec)),
	}
}

const msgCaveat = "urgent data (MSG_OOB) within a network namespace, and else inline"

var msgFlags = &FlagSet{Names: []FlagName{
	{unix.MSG_OOB, "MSG_OOB"}, {unix.MSG_PEEK, "MSG_PEEK"}, {unix.MSG_DONTROUTE, "MSG_DONTROUTE"},
	{unix.MSG_CTRUNC, "MSG_CTRUNC"}, {unix.MSG_TRUNC, "MSG_TRUNC"}, {unix.MSG_DONTWAIT, "MSG_DONTWAIT"},
	{unix.MSG_EOR, "MSG_EOR"}, {unix.MSG_WAITALL, "MSG_WAITALL"}, {unix.MSG_CONFIRM, "MSG_CONFIRM"},
	{unix.MSG_ERRQUEUE, "MSG_ERRQUEUE"}, {unix.MSG_NOSIGNAL, "MSG_NOSIGNAL"}, {unix.MSG_MORE, "MSG_MORE"},
	{unix.MSG_WAITFORONE, "MSG_WAITFORONE"}, {unix.MSG_CMSG_CLOEXEC, "MSG_CMSG_CLOEXEC"},
	{unix.MSG_ZEROCOPY, "MSG_ZEROCOPY"}, {unix.MSG_FASTOPEN, "MSG_FASTOPEN"},
}}

// exchange is one send or receive: the socket, its description and type, and
// the call's flags.
type exchange struct {
	s        socket.Socket
	d        *vfs.FileDescription
	stream   bool
	flags    int32
	nonblock bool
	discard  bool      // the bytes are not wanted: TCP's MSG_TRUNC
	several  bool      // the call receives more messages, and tells how many it had before an error
	until    time.Time // when the socket's time-out ends, once there has been a wait
	m        socket.Message
	raw      [12]byte // fields of a struct msghdr on their way out
}

// deadline is when a time-out of the socket's ends. As on Linux it is one for all waits of a call, but for
// sends that renewsTimeout tells of.
func (x *exchange) deadline(timeout time.Duration) time.Time {
	if x.until.IsZero() {
		x.until = afterTimeout(timeout)
	}
	return x.until
}

// begin looks up the socket; the caller drops x.d.
func (x *exchange) begin(t *kernel.Task, fd, flags int32) error {
	s, d, err := socketOf(t, fd)
	if err != nil {
		return err
	}
	x.s, x.d, x.flags = s, d, flags
	x.nonblock = d.Nonblocking() || flags&unix.MSG_DONTWAIT != 0
	x.stream = isStream(t, s)
	_, k := s.(knowsStream)
	x.discard = k && x.stream && flags&unix.MSG_TRUNC != 0
	return nil
}

// knowsStream is a socket that says without being asked for SO_TYPE whether it is a stream.
type knowsStream interface{ Stream() bool }

func isStream(t *kernel.Task, s socket.Socket) bool {
	if k, ok := s.(knowsStream); ok {
		return k.Stream()
	}
	typ, err := s.Option(t, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && le.Uint32(typ) == unix.SOCK_STREAM
}

// send moves g's bytes and x.m to the socket. A blocking send to a stream
// goes on until all is sent; a message goes in one piece.
func (x *exchange) send(t *kernel.Task, g *guestBuffer) (uintptr, error) {
	if !x.stream && g.total > maxStep {
		return 0, unix.EMSGSIZE
	}
	if x.flags&unix.MSG_FASTOPEN != 0 {
		if err := x.fastOpen(t); err != nil {
			return 0, err
		}
	}
	x.m.Flags = x.flags
	var done uintptr
	if s := directOf(x.s, g.total); s != nil && x.flags&unix.MSG_OOB == 0 && len(x.m.Control) == 0 {
		n, ok, err := x.sendDirect(t, s, g)
		if ok {
			return x.sent(t, n, err)
		}
		done = n
	}
	buf := getBuffer(g.total)
	defer buf.put()
	for {
		step := buf.b[:min(uint64(len(buf.b)), g.total)]
		n, fault := g.copyIn(t, step)
		if fault != nil && (n == 0 || !x.stream) {
			if done > 0 {
				return done, nil
			}
			return 0, fault
		}
		w, err := x.sendAll(t, step[:n])
		done += uintptr(w)
		woke(t, x.s, w)
		if err != nil || w < n || fault != nil || g.total == 0 {
			return x.sent(t, done, err)
		}
	}
}

// fastOpener is a socket of TCP.
type fastOpener interface {
	// FastOpen reports whether MSG_FASTOPEN may be used with a destination: EOPNOTSUPP.
	FastOpen(to []byte) error
}

// fastOpen connects to where a send with MSG_FASTOPEN goes (tcp(7)). What is sent follows the
// handshake, as on Linux where the peer has not given a cookie.
func (x *exchange) fastOpen(t *kernel.Task) error {
	f, ok := x.s.(fastOpener)
	if !ok || !x.stream {
		return nil
	}
	if err := f.FastOpen(x.m.Addr); err != nil {
		return err
	}
	return connect(t, x.s, x.m.Addr, x.nonblock)
}

// sent is the result of a send that moved done bytes before err, if that is one.
func (x *exchange) sent(t *kernel.Task, done uintptr, err error) (uintptr, error) {
	if err == nil || done > 0 {
		x.keepError(err)
		if z, ok := x.s.(zeroCopier); ok && x.flags&unix.MSG_ZEROCOPY != 0 && (done > 0 || !x.stream) {
			z.Copied()
		}
		return done, nil
	}
	if err == unix.EPIPE && x.stream && x.flags&unix.MSG_NOSIGNAL == 0 {
		t.Signal(kernel.KernelSignal(unix.SIGPIPE))
	}
	return 0, err
}

// zeroCopier is a socket that tells its sender when a send with MSG_ZEROCOPY needs the memory
// no more, which is once it has returned.
type zeroCopier interface{ Copied() }

// giveWayMax is up to how many bytes a sender may give way to the receiver. Of more, one
// copies out while the other copies in.
const giveWayMax = 16 << 10

// woke tells the task if n bytes, which have just been sent, were waited for.
func woke(t *kernel.Task, f vfs.File, n int) {
	if n > giveWayMax {
		return
	}
	if w, ok := f.(interface{ Woke() bool }); ok && w.Woke() {
		t.Woke(f)
	}
}

// sendAll sends p, waiting for room if it may.
func (x *exchange) sendAll(t *kernel.Task, p []byte) (done int, err error) {
	renews := renewsTimeout(x.s)
	for {
		if renews {
			x.until = time.Time{}
		}
		var n int
		err := waitSocket(t, x.s, x.nonblock, waiter.Writable, x.deadline(x.s.WriteTimeout()), func() (err error) {
			n, err = x.s.Send(t, p[done:], &x.m)
			return err
		})
		done += n
		if err == socket.ErrNoPort {
			err = unix.EAGAIN
		}
		if err != nil || n == 0 || done >= len(p) {
			return done, err
		}
	}
}

// recv fills g and x.m. The result is how much was received, which with
// MSG_TRUNC may be more than g holds.
func (x *exchange) recv(t *kernel.Task, g *guestBuffer) (uintptr, error) {
	size := g.total
	if !x.discard {
		// A datagram that does not fit in what can be written is lost, as on Linux.
		if err := g.clampWritable(t); err != nil && x.stream {
			return 0, err
		}
		if x.stream {
			size = g.total
		}
	}
	if x.flags&unix.MSG_ERRQUEUE != 0 {
		x.nonblock = true
	}
	taker := x.taker()
	if taker != nil {
		t.ReadLate(x.d)
	}
	target := x.target(g.total)
	var done uintptr
	// What is copied directly may fail late, which the number of several messages can't tell.
	if s := directOf(x.s, g.total); s != nil && !x.several && x.flags&(unix.MSG_PEEK|unix.MSG_OOB|unix.MSG_TRUNC|unix.MSG_ERRQUEUE) == 0 {
		n, ok, err := x.recvDirect(t, s, g, target)
		if ok || n > 0 && uint64(n) >= target {
			if n == 0 {
				return 0, err
			}
			x.keepError(err)
			return n, nil
		}
		done = n
	}
	buf := getBuffer(size)
	defer buf.put()
	if x.flags&unix.MSG_PEEK != 0 {
		target = min(target, uint64(len(buf.b)))
	}
	for {
		step := buf.b[:min(uint64(len(buf.b)), size)]
		n, err := x.recvOnce(t, step, x.nonblock || done > 0 && uint64(done) >= target, int(target))
		if err != nil {
			if done > 0 {
				x.keepError(err)
				return done, nil
			}
			return 0, err
		}
		t.Received(x.s)
		if x.discard {
			return uintptr(n), nil
		}
		if !x.stream && uint64(min(n, len(step))) > g.total {
			return 0, unix.EFAULT
		}
		var got int
		var fault error
		if x.several {
			got, fault = g.copyOut(t, step[:min(n, len(step))-x.m.Beyond]) // the messages before it count
		} else {
			// A datagram comes as a whole.
			got, fault = g.copyOutLate(t, step[:min(n, len(step))-x.m.Beyond], x.stream)
		}
		if fault != nil && taker != nil {
			taker.Unread(step[got:n])
		}
		if fault != nil && (!x.stream || got == 0 && done == 0) {
			return 0, fault
		}
		if !x.stream {
			if x.flags&unix.MSG_TRUNC != 0 {
				return uintptr(n), nil
			}
			return uintptr(got), nil
		}
		done += uintptr(got)
		size = g.total
		// A stream is read on only to fill the buffer or to the mark, not past what came
		// with the bytes, and not twice over what is only looked at.
		more := n == len(step) || uint64(done) < target
		if fault != nil || n == 0 || g.total == 0 || !more || x.m.Rights != nil || x.flags&unix.MSG_PEEK != 0 {
			return done, nil
		}
	}
}

// taker is the stream that takes bytes back which it has given; nil if it gives none for good.
func (x *exchange) taker() vfs.Unreader {
	if !x.stream || x.discard || x.flags&(unix.MSG_PEEK|unix.MSG_OOB|unix.MSG_ERRQUEUE) != 0 {
		return nil
	}
	u, _ := x.s.(vfs.Unreader)
	return u
}

// lowWaterMarked is a stream whose readers wait for more than a byte (SO_RCVLOWAT in
// socket(7)), and who looks at bytes may wait for all of them.
type lowWaterMarked interface {
	socket.Socket
	LowWaterMark() int
}

// target is how many bytes a receive waits for, of size.
func (x *exchange) target(size uint64) uint64 {
	if x.flags&unix.MSG_WAITALL != 0 {
		return size
	}
	if s, ok := x.s.(lowWaterMarked); ok && x.stream {
		return min(size, uint64(s.LowWaterMark()))
	}
	return 1
}

// recvOnce receives what there is, after waiting for something. What is only looked at it
// waits for until target bytes are there, or no more can come; a signal or the end of the
// time that there is ends that with what there is.
func (x *exchange) recvOnce(t *kernel.Task, p []byte, nonblock bool, target int) (n int, err error) {
	_, peeks := x.s.(lowWaterMarked)
	peeks = peeks && x.stream && x.flags&unix.MSG_PEEK != 0 && target > 1 && !nonblock
	if f, ok := x.s.(interface{ PeeksFurther() bool }); ok && peeks && f.PeeksFurther() {
		peeks = false
	}
	err = waitSocket(t, x.s, nonblock, waiter.Readable|waiter.RdHup, x.deadline(x.s.ReadTimeout()), func() (err error) {
		x.m.Flags = x.flags // what comes out of a try is no flag of the next
		n, err = x.s.Recv(p, &x.m)
		if peeks && err == nil && n > 0 && n < target && x.s.Readiness(waiter.RdHup|waiter.Hup|waiter.Err) == 0 {
			return unix.EAGAIN
		}
		return err
	})
	if peeks && err != nil && n > 0 {
		err = nil
	}
	return n, err
}

// keepError gives a socket back the error that ended a call which had moved some bytes
// already: the next call tells it.
func (x *exchange) keepError(err error) {
	if k, ok := x.s.(interface{ KeepError(error) }); ok && err != nil && err != unix.EAGAIN {
		k.KeepError(err)
	}
}

// sysSendto is sendto(2).
func sysSendto(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var x exchange
	if err := x.begin(t, a.Int(0), a.Int(3)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	var g guestBuffer
	if err := g.setRange(a[1], a[2]); err != nil {
		return 0, err
	}
	if a[4] != 0 {
		addr, err := copyInSockaddr(t, a[4], a.Int(5))
		if err != nil {
			return 0, err
		}
		x.m.Addr = addr
	}
	return x.send(t, &g)
}

// sysRecvfrom is recvfrom(2).
func sysRecvfrom(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var x exchange
	if err := x.begin(t, a.Int(0), a.Int(3)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	var g guestBuffer
	if err := g.setRange(a[1], a[2]); err != nil {
		return 0, err
	}
	var name sockaddrBuffer
	if a[4] != 0 {
		name = sockaddrBufferAt(t, a[4], a[5])
	}
	n, err := x.recv(t, &g)
	x.m.DropRights()
	if err != nil || a[4] == 0 {
		return n, err
	}
	return n, name.put(t, x.m.Addr)
}

// sizeofMsghdr and sizeofMmsghdr are those of the structures of sendmsg(2)
// and sendmmsg(2).
const (
	sizeofMsghdr  = 56
	sizeofMmsghdr = 64
)

// msghdr is struct msghdr.
type msghdr struct {
	name, iov, iovLen, control, controlLen uint64
	nameLen                                int32
}

func copyInMsghdr(t *kernel.Task, addr uint64) (h msghdr, err error) {
	var b [sizeofMsghdr]byte
	if _, err := t.CopyIn(addr, b[:]); err != nil {
		return h, err
	}
	h = msghdr{
		name: le.Uint64(b[0:]), nameLen: int32(le.Uint32(b[8:])), iov: le.Uint64(b[16:]), iovLen: le.Uint64(b[24:]),
		control: le.Uint64(b[32:]), controlLen: le.Uint64(b[40:]),
	}
	switch {
	case h.nameLen < 0:
		return h, unix.EINVAL
	case h.iovLen > maxIovecs:
		return h, unix.EMSGSIZE
	}
	return h, nil
}

// sysSendmsg is sendmsg(2).
func sysSendmsg(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var x exchange
	if err := x.begin(t, a.Int(0), a.Int(2)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	return x.sendmsg(t, a[1])
}

func (x *exchange) sendmsg(t *kernel.Task, addr uint64) (uintptr, error) {
	h, err := copyInMsghdr(t, addr)
	if err != nil {
		return 0, err
	}
	x.m, x.until = socket.Message{}, time.Time{}
	if h.name != 0 && h.nameLen > 0 {
		if x.m.Addr, err = copyInSockaddr(t, h.name, min(h.nameLen, maxSockaddr)); err != nil {
			return 0, err
		}
	}
	var g guestBuffer
	v, err := g.getVector(t, h.iov, h.iovLen)
	if err != nil {
		return 0, err
	}
	defer v.put()
	defer x.m.DropRights()
	if h.controlLen > 0 {
		if err := copyInControl(t, h.control, h.controlLen, &x.m); err != nil {
			return 0, err
		}
	}
	return x.send(t, &g)
}

// sysRecvmsg is recvmsg(2).
func sysRecvmsg(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var x exchange
	if err := x.begin(t, a.Int(0), a.Int(2)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	return x.recvmsg(t, a[1])
}

func (x *exchange) recvmsg(t *kernel.Task, addr uint64) (uintptr, error) {
	h, err := copyInMsghdr(t, addr)
	if err != nil {
		return 0, err
	}
	var g guestBuffer
	v, err := g.getVector(t, h.iov, h.iovLen)
	if err != nil {
		return 0, err
	}
	defer v.put()
	x.m, x.until = socket.Message{}, time.Time{}
	defer x.m.DropRights()
	n, err := x.recv(t, &g)
	if err != nil {
		return 0, err
	}
	flags := x.m.Flags&(unix.MSG_OOB|unix.MSG_TRUNC|unix.MSG_EOR|unix.MSG_CTRUNC|unix.MSG_ERRQUEUE) | x.flags&unix.MSG_CMSG_CLOEXEC
	if x.stream {
		flags &^= unix.MSG_TRUNC
	}
	controlLen, truncated, err := x.copyOutControl(t, h.control, h.controlLen)
	if err != nil {
		return 0, err
	}
	if truncated {
		flags |= unix.MSG_CTRUNC
	}
	if h.name != 0 {
		if err := x.copyOut(t, h.name, x.m.Addr[:min(len(x.m.Addr), int(h.nameLen))]); err != nil {
			return 0, err
		}
		le.PutUint32(x.raw[:], uint32(len(x.m.Addr)))
		if err := x.copyOut(t, addr+8, x.raw[:4]); err != nil {
			return 0, err
		}
	}
	le.PutUint64(x.raw[:], controlLen)
	le.PutUint32(x.raw[8:], uint32(flags))
	return n, x.copyOut(t, addr+40, x.raw[:])
}

// copyOut writes what a message has beside its bytes: on the way back to the guest, unless
// the call is to know at once whether that was possible.
func (x *exchange) copyOut(t *kernel.Task, addr uint64, b []byte) error {
	if !x.several {
		return t.CopyOutLate(addr, b)
	}
	_, err := t.CopyOut(addr, b)
	return err
}

// sysSendmmsg is sendmmsg(2): an error after the first message ends it with
// the number that were sent.
func sysSendmmsg(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var x exchange
	if err := x.begin(t, a.Int(0), a.Int(3)); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	n := min(a.Uint(2), maxIovecs)
	for i := range uint64(n) {
		addr := a[1] + i*sizeofMmsghdr
		sent, err := x.sendmsg(t, addr)
		if err == nil {
			err = t.CopyOutUint32(addr+sizeofMsghdr, uint32(sent))
		}
		if err != nil {
			if i > 0 {
				return uintptr(i), nil
			}
			return 0, err
		}
	}
	return uintptr(n), nil
}

// sysRecvmmsg is recvmmsg(2). As on Linux the time-out is looked at only
// after each message.
func sysRecvmmsg(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var deadline time.Time
	if a[4] != 0 {
		d, err := copyInTimespec(t, a[4])
		if err != nil {
			return 0, err
		}
		deadline = fromNow(d)
	}
	var x exchange
	if err := x.begin(t, a.Int(0), a.Int(3)&^unix.MSG_WAITFORONE); err != nil {
		return 0, err
	}
	defer x.d.DecRef()
	x.several = true
	var got uintptr
	for i := range uint64(min(a.Uint(2), maxIovecs)) {
		addr := a[1] + i*sizeofMmsghdr
		n, err := x.recvmsg(t, addr)
		if err == nil {
			err = t.CopyOutUint32(addr+sizeofMsghdr, uint32(n))
		}
		if err != nil {
			if got == 0 {
				return 0, err
			}
			x.keepError(err)
			break
		}
		got++
		if a.Int(3)&unix.MSG_WAITFORONE != 0 {
			x.nonblock, x.flags = true, x.flags|unix.MSG_DONTWAIT
		}
		if a[4] != 0 && !deadline.IsZero() && left(deadline) == 0 {
			break
		}
	}
	if a[4] != 0 && !deadline.IsZero() {
		if err := copyOutTimespec(t, a[4], left(deadline)); err != nil {
			return 0, err
		}
	}
	return got, nil
}
