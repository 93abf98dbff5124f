package fuse

import "golang.org/x/sys/unix"

// maxErrno bounds the errors that a server may answer with.
const maxErrno = 512

// answer takes a message from the server: an answer, or a notification. EINVAL
// for one that is neither, ENOENT if nobody asked.
func (cn *connection) answer(p []byte) error {
	if len(p) < outHeaderSize || uint64(le.Uint32(p)) != uint64(len(p)) {
		return unix.EINVAL
	}
	code, unique := int32(le.Uint32(p[4:])), le.Uint64(p[8:])
	if unique == 0 {
		return cn.notification(code, p[outHeaderSize:])
	}
	if code > 0 || code <= -maxErrno || code != 0 && len(p) != outHeaderSize {
		return unix.EINVAL
	}
	reply, err := p[outHeaderSize:], error(nil)
	if code != 0 {
		reply, err = nil, unix.Errno(-code)
	}
	if unique&1 != 0 {
		return cn.interruptAnswered(unique&^1, err)
	}
	cn.mu.Lock()
	r := cn.asked[unique]
	if r == nil {
		cn.mu.Unlock()
		return unix.ENOENT
	}
	delete(cn.asked, unique)
	if len(reply) > 0 {
		reply = append([]byte(nil), reply...)
	}
	if r.op == opInit {
		cn.mu.Unlock()
		cn.begin(reply, err)
		return nil
	}
	giveBack, held := r.giveBack, r.held
	if !r.abandoned || err != nil {
		giveBack = nil
	}
	r.finish(reply, err)
	cn.mu.Unlock()
	if giveBack != nil {
		giveBack(reply)
	}
	if held != nil {
		held.DecRef()
	}
	return nil
}

// begin takes INIT's answer. A server that speaks another protocol is left.
func (cn *connection) begin(reply []byte, err error) {
	var a agreed
	if err == nil {
		a, err = parseInit(reply)
	}
	if err != nil {
		cn.abort()
		return
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.gone || cn.started {
		return
	}
	cn.agreed, cn.started = a, true
	close(cn.ready)
}

// interruptAnswered takes the answer to an INTERRUPT, of which there is one
// only if the server does not know the operation, or the request not yet.
func (cn *connection) interruptAnswered(unique uint64, err error) error {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	r := cn.asked[unique]
	switch {
	case r == nil:
		return unix.ENOENT
	case err == unix.ENOSYS:
		cn.lacks[opInterrupt] = true
	case err == unix.EAGAIN && r.interrupted:
		cn.interrupts = append(cn.interrupts, unique)
	}
	return nil
}

// notification takes what the server tells by itself. Contents are not cached,
// so that only attributes and names can be out of date.
func (cn *connection) notification(code int32, b []byte) error {
	cn.mu.Lock()
	fs := cn.notified
	cn.mu.Unlock()
	if fs == nil {
		return unix.EINVAL
	}
	switch code {
	case notifyPoll, notifyStore:
		return nil
	case notifyInvalInode:
		if len(b) != 24 {
			return unix.EINVAL
		}
		return fs.expire(le.Uint64(b))
	case notifyInvalEntry, notifyDelete:
		if len(b) < 16 {
			return unix.EINVAL
		}
		fs.epoch.Add(1)
		return fs.expire(le.Uint64(b))
	}
	return unix.EINVAL
}
