package ipc

import (
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/shmem"

	"golang.org/x/sys/unix"
)

var (
	root  = Actor{auth.New(0, 0, nil), 1, auth.Initial}
	alice = Actor{auth.New(1000, 1000, nil), 10, auth.Initial}
	bob   = Actor{auth.New(1001, 1001, []uint32{1000}), 11, auth.Initial}
)

func TestGet(t *testing.T) {
	ns := NewNamespace()
	q := &ns.Messages
	if _, err := q.Get(alice, 5, 0); err != unix.ENOENT {
		t.Errorf("no such key: %v", err)
	}
	id, err := q.Get(alice, 5, Creat|0o640)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		who   Actor
		flags uint32
		err   error
	}{
		{"owner", alice, 0o600, nil},
		{"group may read", bob, 0o444, nil},
		{"group may not write", bob, 0o666, unix.EACCES},
		{"root", root, 0o666, nil},
		{"exclusive", alice, Creat | Excl, unix.EEXIST},
	} {
		if got, err := q.Get(c.who, 5, c.flags); err != c.err || err == nil && got != id {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, got, err, id, c.err)
		}
	}
	m, _ := q.Find(id)
	if err := m.Remove(bob); err != unix.EPERM {
		t.Errorf("removed by another: %v", err)
	}
	if err := m.Remove(alice); err != nil {
		t.Error(err)
	}
	if _, err := q.Find(id); err != unix.EINVAL {
		t.Errorf("removed: %v", err)
	}
	id2, _ := q.Get(alice, Private, 0o600)
	if id2 == id {
		t.Error("an ID is used again at once")
	}
	if _, err := q.Find(id); err != unix.EIDRM {
		t.Errorf("an old ID of an index in use: %v", err)
	}
	for range maxIDs - 1 {
		if _, err := q.Get(alice, Private, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.Get(root, Private, 0o600); err != unix.ENOSPC {
		t.Errorf("too many: %v", err)
	}
}

func TestSemaphores(t *testing.T) {
	ns := NewNamespace()
	id, err := ns.Semaphores.Get(alice, 7, 3, Creat|0o600)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := ns.Semaphores.Find(id)
	values := func() (v [3]int32) {
		list, err := s.Info(alice)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range list {
			v[i] = m.Value
		}
		return v
	}
	for _, c := range []struct {
		name string
		ops  []SemOp
		err  error
		want [3]int32
	}{
		{"up", []SemOp{{0, 2, 0}, {1, 1, SemUndo}}, nil, [3]int32{2, 1, 0}},
		{"all or nothing", []SemOp{{0, -1, SemUndo}, {2, -1, 0}}, unix.EAGAIN, [3]int32{2, 1, 0}},
		{"zero has to wait", []SemOp{{2, 5, 0}, {0, 0, 0}}, unix.EAGAIN, [3]int32{2, 1, 0}},
		{"zero, then up", []SemOp{{2, 0, 0}, {2, 1, SemUndo}}, nil, [3]int32{2, 1, 1}},
		{"one after the other", []SemOp{{2, -1, 0}, {2, 0, 0}, {2, 4, 0}}, nil, [3]int32{2, 1, 4}},
		{"no such semaphore", []SemOp{{3, 1, 0}}, unix.EFBIG, [3]int32{2, 1, 4}},
		{"too large", []SemOp{{0, 1, SemUndo}, {1, MaxSemValue, 0}}, unix.ERANGE, [3]int32{2, 1, 4}},
	} {
		if _, err := s.Operate(alice, "p", c.ops); err != c.err || values() != c.want {
			t.Errorf("%s: %v %v; want %v %v", c.name, err, values(), c.err, c.want)
		}
	}
	ns.Semaphores.EndProcess("p")
	if got := values(); got != [3]int32{2, 0, 3} {
		t.Errorf("after the process ended: %v", got)
	}
	if s.undoing != 0 || len(s.undo) != 0 {
		t.Errorf("%d entries of undo are left", s.undoing)
	}
	s.Operate(alice, "p", []SemOp{{0, -1, SemUndo}})
	s.SetValue(alice, 0, 9)
	ns.Semaphores.EndProcess("p")
	if got := values(); got[0] != 9 {
		t.Errorf("SETVAL does not forget the undo: %v", got)
	}
	if err := s.Remove(root); err != nil {
		t.Error(err)
	}
	if _, err := s.Operate(alice, "p", []SemOp{{0, 1, 0}}); err != unix.EIDRM {
		t.Errorf("removed: %v", err)
	}
	if ns.Semaphores.total != 0 {
		t.Error("the count of semaphores is wrong")
	}
}

func TestMessages(t *testing.T) {
	ns := NewNamespace()
	id, _ := ns.Messages.Get(alice, Private, 0o600)
	q, _ := ns.Messages.Find(id)
	for _, m := range []string{"3three", "1one", "2two", "1uno"} {
		if err := q.Send(alice, int64(m[0]-'0'), []byte(m[1:])); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		typ   int64
		size  uint64
		flags uint32
		want  string
		err   error
	}{
		{9, 10, 0, "", unix.EAGAIN},
		{0, 4, 0, "", unix.E2BIG},
		{0, 4, MsgNoError, "thre", nil},
		{-2, 10, 0, "one", nil},
		{1, 10, MsgExcept, "two", nil},
		{1, 10, 0, "uno", nil},
		{0, 10, 0, "", unix.EAGAIN},
	} {
		if _, got, err := q.Receive(alice, c.typ, c.size, c.flags); string(got) != c.want || err != c.err {
			t.Errorf("type %d: %q %v; want %q %v", c.typ, got, err, c.want, c.err)
		}
	}
	if err := q.Send(alice, 1, make([]byte, MaxQueued)); err != nil {
		t.Error(err)
	}
	if err := q.Send(alice, 1, []byte("x")); err != unix.EAGAIN {
		t.Errorf("full: %v", err)
	}
}

// TestMessagesAreCounted checks that messages take memory from sending to
// receiving, or the end of their queue or namespace.
func TestMessagesAreCounted(t *testing.T) {
	before := shmem.Buffers.Used()
	taken := func(want int64) {
		t.Helper()
		if got := shmem.Buffers.Used() - before; got != want {
			t.Errorf("%d bytes are counted, not %d", got, want)
		}
	}
	ns := NewNamespace()
	newQueue := func() *MsgQueue {
		id, err := ns.Messages.Get(alice, Private, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		q, err := ns.Messages.Find(id)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	send := func(q *MsgQueue) error { return q.Send(alice, 1, []byte("1234")) }
	a, b := newQueue(), newQueue()
	shmem.Buffers.SetLimit(before + 3*(overhead+4))
	defer shmem.Buffers.SetLimit(0)
	for _, q := range []*MsgQueue{a, a, b} {
		if err := send(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := send(b); err != unix.ENOMEM {
		t.Errorf("a message too many: %v", err)
	}
	if _, _, err := a.Receive(alice, 0, 2, MsgNoError); err != nil {
		t.Fatal(err)
	}
	taken(2 * (overhead + 4))
	if err := a.Remove(alice); err != nil {
		t.Fatal(err)
	}
	taken(overhead + 4)
	if err := send(b); err != nil {
		t.Errorf("after a queue has gone: %v", err)
	}
	ns.Destroy()
	taken(0)
}

func TestSegments(t *testing.T) {
	ns := NewNamespace()
	id, err := ns.Segments.Get(alice, 3, 5000, Creat|0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ns.Segments.Get(alice, 3, 5001, 0); err != unix.EINVAL {
		t.Errorf("larger than it is: %v", err)
	}
	s, _ := ns.Segments.Find(id)
	if _, err := s.Attach(bob, true, false); err != unix.EACCES {
		t.Errorf("attached by another: %v", err)
	}
	d, err := s.Attach(alice, false, false)
	if err != nil {
		t.Fatal(err)
	}
	d.IncRef() // a second mapping, as after a fork
	if err := s.Remove(alice); err != nil {
		t.Fatal(err)
	}
	if _, err := ns.Segments.Get(alice, 3, 1, 0); err != unix.ENOENT {
		t.Errorf("the key of a removed segment: %v", err)
	}
	b, err := s.Stat(alice, false)
	if err != nil || le.Uint64(b[88:]) != 2 || le.Uint32(b[20:])&shmDest == 0 {
		t.Errorf("Stat: %v %x", err, b)
	}
	d.DecRef()
	if _, err := ns.Segments.Find(id); err != nil {
		t.Errorf("still attached: %v", err)
	}
	d.DecRef()
	if _, err := ns.Segments.Find(id); err != unix.EINVAL {
		t.Errorf("not attached any more: %v", err)
	}
	if _, err := s.Attach(alice, false, false); err != unix.EIDRM {
		t.Errorf("gone: %v", err)
	}
}
