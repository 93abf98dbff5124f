// Package ipc is System V interprocess communication (sysvipc(7)): message
// queues, semaphore sets and shared memory segments, named by keys.
//
// It must not know tasks; it sees their credentials and PIDs.
//
// Lock order: a registry's mu, then an object's own mu, then waiter queues.
package ipc

import (
	"encoding/binary"
	"math"
	"sync"
	"time"

	"coffer/internal/sentry/auth"

	"golang.org/x/sys/unix"
)

// Flags and commands of the calls, which package unix lacks on amd64.
const (
	Private = 0 // IPC_PRIVATE
	Creat   = 0o1000
	Excl    = 0o2000
	NoWait  = 0o4000

	// Read and Write are the permission bits that Check asks for.
	Read  = 0o444
	Write = 0o222
)

// maxIDs is the most objects of one kind: SHMMNI, SEMMNI and MSGMNI.
const maxIDs = 4096

// Namespace holds the objects of one IPC namespace.
type Namespace struct {
	Segments   Segments
	Semaphores Semaphores
	Messages   Messages
}

// NewNamespace returns a namespace without objects.
func NewNamespace() *Namespace { return new(Namespace) }

// Destroy removes all objects, when nobody can reach the namespace any more.
func (n *Namespace) Destroy() {
	a := Actor{Creds: auth.New(0, 0, nil), Owner: auth.Initial}
	for _, s := range n.Segments.all() {
		_ = s.Remove(a)
	}
	for _, s := range n.Semaphores.all() {
		_ = s.Remove(a)
	}
	for _, q := range n.Messages.all() {
		_ = q.Remove(a)
	}
}

// Actor is who makes a call.
type Actor struct {
	Creds *auth.Credentials
	PID   int32
	// Owner is the user namespace in which capabilities over the objects count.
	Owner *auth.UserNamespace
}

// Perm is struct ipc64_perm: whose an object is and who may use it.
type Perm struct {
	Key                  int32
	UID, GID, CUID, CGID uint32
	Mode                 uint32
	Seq                  uint16
}

// PermSize is sizeof(struct ipc64_perm).
const PermSize = 48

var le = binary.LittleEndian

// Encode lays p out in b, as a is shown IDs.
func (p *Perm) Encode(a Actor, b []byte) {
	users := a.Creds.UserNS
	le.PutUint32(b[0:], uint32(p.Key))
	le.PutUint32(b[4:], users.FromUID(p.UID))
	le.PutUint32(b[8:], users.FromGID(p.GID))
	le.PutUint32(b[12:], users.FromUID(p.CUID))
	le.PutUint32(b[16:], users.FromGID(p.CGID))
	le.PutUint32(b[20:], p.Mode)
	le.PutUint16(b[24:], p.Seq)
}

// DecodePerm reads what IPC_SET may change: owner and mode, as a names IDs.
func DecodePerm(a Actor, b []byte) Perm {
	users := a.Creds.UserNS
	return Perm{UID: users.ToUID(le.Uint32(b[4:])), GID: users.ToGID(le.Uint32(b[8:])), Mode: le.Uint32(b[20:])}
}

// newPerm is the Perm of an object that a creates with the given mode.
func newPerm(a Actor, key int32, mode uint32) Perm {
	c := a.Creds
	return Perm{Key: key, UID: c.EUID, GID: c.EGID, CUID: c.EUID, CGID: c.EGID, Mode: mode & 0o777}
}

// check says EACCES unless a may do what want asks for, which has the same
// bits for owner, group and others.
func (p *Perm) check(a Actor, want uint32) error {
	c := a.Creds
	granted := p.Mode
	switch {
	case c.EUID == p.UID || c.EUID == p.CUID:
		granted >>= 6
	case c.EGID == p.GID || c.EGID == p.CGID || c.InGroup(p.GID) || c.InGroup(p.CGID):
		granted >>= 3
	}
	if want&0o7&^granted != 0 && !c.CanIn(a.Owner, unix.CAP_IPC_OWNER) {
		return unix.EACCES
	}
	return nil
}

// mayControl says EPERM unless a may change or remove the object.
func (p *Perm) mayControl(a Actor) error {
	if c := a.Creds; c.EUID != p.UID && c.EUID != p.CUID && !c.CanIn(a.Owner, unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	return nil
}

// change takes over owner and mode from IPC_SET. EINVAL for an owner that has
// no ID.
func (p *Perm) change(n Perm) error {
	if n.UID == auth.NoID || n.GID == auth.NoID {
		return unix.EINVAL
	}
	p.UID, p.GID = n.UID, n.GID
	p.Mode = p.Mode&^0o777 | n.Mode&0o777
	return nil
}

// object is what a registry holds.
type object interface {
	comparable
	// perm is the object's; of it Key and Seq don't change once the object is
	// in the registry, the rest only under the object's own lock.
	perm() *Perm
	// allow is perm's check, under that lock.
	allow(a Actor, want uint32) error
}

// registry maps IDs and keys to objects. As on Linux an ID is an index, and
// above it a number that changes with each use of the index.
type registry[T object] struct {
	mu    sync.Mutex
	slots []T
	free  []int
	seq   uint16
	byKey map[int32]T
	count int
}

const indexBits = 15

// get finds the object with a key, or makes one, as the flags of shmget(2)
// and its like say. fits checks an existing one.
func (r *registry[T]) get(a Actor, key int32, flags uint32, fits func(T) error, create func() (T, error)) (int32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key != Private {
		if o, ok := r.byKey[key]; ok {
			if flags&(Creat|Excl) == Creat|Excl {
				return 0, unix.EEXIST
			}
			if err := fits(o); err != nil {
				return 0, err
			}
			if err := o.allow(a, flags>>6|flags>>3|flags); err != nil {
				return 0, err
			}
			return r.idOf(o), nil
		}
		if flags&Creat == 0 {
			return 0, unix.ENOENT
		}
	}
	if r.count >= maxIDs {
		return 0, unix.ENOSPC
	}
	o, err := create()
	if err != nil {
		return 0, err
	}
	r.add(o, key)
	return r.idOf(o), nil
}

func (r *registry[T]) add(o T, key int32) {
	i := len(r.slots)
	if n := len(r.free); n > 0 {
		i, r.free = r.free[n-1], r.free[:n-1]
	} else {
		r.slots = append(r.slots, o)
	}
	r.slots[i] = o
	r.seq = (r.seq + 1) % (math.MaxInt16 + 1)
	p := o.perm()
	p.Seq = r.seq
	if key != Private {
		if r.byKey == nil {
			r.byKey = map[int32]T{}
		}
		r.byKey[key] = o
	}
	r.count++
}

func (r *registry[T]) idOf(o T) int32 {
	for i := range r.slots {
		if r.slots[i] == o {
			return int32(o.perm().Seq)<<indexBits | int32(i)
		}
	}
	return -1
}

// find returns the object with an ID: EINVAL if there is none, EIDRM if the
// ID was that of one that is gone.
func (r *registry[T]) find(id int32) (o T, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, err = r.at(id & (1<<indexBits - 1))
	if id < 0 || err != nil {
		return o, unix.EINVAL
	}
	if o.perm().Seq != uint16(id>>indexBits) {
		return o, unix.EIDRM
	}
	return o, nil
}

// at returns the object with an index.
func (r *registry[T]) at(i int32) (o T, err error) {
	var none T
	if i < 0 || int(i) >= len(r.slots) || r.slots[i] == none {
		return none, unix.EINVAL
	}
	return r.slots[i], nil
}

// byIndex is find for the commands that take an index (SHM_STAT and its
// like). It also returns the ID.
func (r *registry[T]) byIndex(i int32) (o T, id int32, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o, err = r.at(i); err != nil {
		return o, 0, err
	}
	return o, r.idOf(o), nil
}

// hide takes an object's key away, so that it can't be found by it any more.
func (r *registry[T]) hide(o T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := o.perm().Key; k != Private && r.byKey[k] == o {
		delete(r.byKey, k)
	}
}

// remove forgets an object. It reports whether it was there.
func (r *registry[T]) remove(o T) bool {
	r.hide(o)
	r.mu.Lock()
	defer r.mu.Unlock()
	var none T
	for i := range r.slots {
		if r.slots[i] == o {
			r.slots[i] = none
			r.free = append(r.free, i)
			r.count--
			return true
		}
	}
	return false
}

// all returns the objects.
func (r *registry[T]) all() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	var none T
	var list []T
	for _, o := range r.slots {
		if o != none {
			list = append(list, o)
		}
	}
	return list
}

// usage returns how many objects there are and the highest index in use.
func (r *registry[T]) usage() (count int, highest int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var none T
	for i := range r.slots {
		if r.slots[i] != none {
			highest = int32(i)
		}
	}
	return r.count, highest
}

func now() int64 { return time.Now().Unix() }
