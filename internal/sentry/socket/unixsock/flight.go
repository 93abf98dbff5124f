package unixsock

import (
	"sync"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// maxFlight bounds the descriptions in flight of a whole namespace. A user
// without CAP_SYS_RESOURCE and CAP_SYS_ADMIN who has more than RLIMIT_NOFILE in
// flight can send no more; maxUserFlight is that limit for a caller that has none.
const (
	maxFlight     = 1 << 16
	maxUserFlight = 1024
)

// limiter is a vfs.Caller that has resource limits (unix.RLIMIT_*).
type limiter interface{ Limit(resource int) uint64 }

// mayFly reports whether the caller may send n descriptions more. flightMu is
// held.
func (f *flight) mayFly(c vfs.Caller, n int) bool {
	if f.total+n > maxFlight {
		return false
	}
	cred := c.Credentials()
	if cred.Can(unix.CAP_SYS_RESOURCE) || cred.Can(unix.CAP_SYS_ADMIN) {
		return true
	}
	limit := uint64(maxUserFlight)
	if l, ok := c.(limiter); ok {
		limit = l.Limit(unix.RLIMIT_NOFILE)
	}
	return uint64(f.byUser[cred.RUID]) <= limit
}

// flight counts the descriptions that are in queues and in no table.
type flight struct {
	flightMu sync.Mutex
	total    int
	byUser   map[uint32]int
	// sockets counts, for each socket whose description is in flight, how
	// often it is.
	sockets map[*vfs.FileDescription]int
	// checkAt is the number of sockets in flight at which garbage is looked
	// for.
	checkAt int
}

const firstCheck = 64

func newFlight() flight {
	return flight{byUser: map[uint32]int{}, sockets: map[*vfs.FileDescription]int{}, checkAt: firstCheck}
}

// deliverRights is deliver for a message with descriptions. ETOOMANYREFS if
// too many are in flight.
func (s *Socket) deliverRights(c vfs.Caller, to *Socket, seg segment, p []byte, m *socket.Message) (int, error) {
	ns := s.ns
	r := &rights{files: m.Rights, uid: c.Credentials().RUID}
	seg.rights = r

	ns.flightMu.Lock()
	if !ns.mayFly(c, len(r.files)) {
		ns.flightMu.Unlock()
		return 0, unix.ETOOMANYREFS
	}
	ns.launched(r)
	n, err := s.enqueue(to, seg, p)
	if err != nil {
		ns.landed(r)
	}
	check := len(ns.sockets) >= ns.checkAt
	ns.flightMu.Unlock()
	if err != nil {
		return n, err
	}
	m.Rights = nil
	if check {
		ns.collectGarbage()
	}
	return n, nil
}

// launched and landed count; flightMu is held.
func (f *flight) launched(r *rights) { f.count(r, 1) }
func (f *flight) landed(r *rights)   { f.count(r, -1) }

func (f *flight) count(r *rights, by int) {
	f.total += by * len(r.files)
	if f.byUser[r.uid] += by * len(r.files); f.byUser[r.uid] == 0 {
		delete(f.byUser, r.uid)
	}
	for _, d := range r.files {
		if _, ok := d.File.(*Socket); !ok {
			continue
		}
		if f.sockets[d] += by; f.sockets[d] == 0 {
			delete(f.sockets, d)
		}
	}
}

// drop ends the flight of rights that nobody will receive. No lock is held.
func (ns *Namespace) drop(all []*rights) {
	if len(all) == 0 {
		return
	}
	ns.flightMu.Lock()
	for _, r := range all {
		ns.landed(r)
	}
	ns.flightMu.Unlock()
	for _, r := range all {
		for _, d := range r.files {
			d.DecRef()
		}
	}
}

// collectGarbage frees sockets that are referred to only from queues that
// nobody can reach any more, such as two sockets that hold each other.
//
// A description all of whose references are in flight is a candidate. A
// candidate is alive if it is in the queue of a socket that is not one, or of
// a candidate that is alive. Rights move only under flightMu, so a candidate
// cannot gain another reference while it is held.
func (ns *Namespace) collectGarbage() {
	ns.flightMu.Lock()
	candidates := map[*vfs.FileDescription]int{}
	for d, n := range ns.sockets {
		if d.RefCount() == int64(n) {
			candidates[d] = n // how many references come from living queues
		}
	}
	holds := map[*vfs.FileDescription][]*vfs.FileDescription{}
	for d := range candidates {
		holds[d] = d.File.(*Socket).held(candidates)
	}
	for d := range candidates {
		for _, h := range holds[d] {
			candidates[h]--
		}
	}
	var alive []*vfs.FileDescription
	for d, n := range candidates {
		if n > 0 {
			alive = append(alive, d)
		}
	}
	for len(alive) > 0 {
		d := alive[len(alive)-1]
		alive = alive[:len(alive)-1]
		if _, ok := candidates[d]; !ok {
			continue
		}
		delete(candidates, d)
		alive = append(alive, holds[d]...)
	}
	var dead []*rights
	for d := range candidates {
		dead = append(dead, d.File.(*Socket).purge()...)
	}
	for _, r := range dead {
		ns.landed(r)
	}
	ns.checkAt = max(firstCheck, 2*len(ns.sockets))
	ns.flightMu.Unlock()
	for _, r := range dead {
		for _, d := range r.files {
			d.DecRef()
		}
	}
}

// held returns the candidates in a socket's queue and in those of the
// connections that wait on it.
func (s *Socket) held(candidates map[*vfs.FileDescription]int) []*vfs.FileDescription {
	s.mu.Lock()
	var out []*vfs.FileDescription
	for _, seg := range s.in.segs[s.in.head:] {
		if seg.rights == nil {
			continue
		}
		for _, d := range seg.rights.files {
			if _, ok := candidates[d]; ok {
				out = append(out, d)
			}
		}
	}
	pending := append([]*Socket(nil), s.pending...)
	s.mu.Unlock()
	for _, p := range pending {
		out = append(out, p.held(candidates)...)
	}
	return out
}

// purge empties a socket's queue, and its connections', of everything.
func (s *Socket) purge() []*rights {
	s.mu.Lock()
	out := s.in.clear()
	pending := append([]*Socket(nil), s.pending...)
	s.mu.Unlock()
	for _, p := range pending {
		out = append(out, p.purge()...)
	}
	return out
}
