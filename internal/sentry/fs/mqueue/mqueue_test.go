package mqueue

import (
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/quota"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

type caller struct {
	vfs.Caller
	uid uint32
}

func (c caller) Credentials() *auth.Credentials { return auth.New(c.uid, c.uid, nil) }
func (caller) Umask() uint32                    { return 022 }
func (c caller) FirstPID() int32                { return int32(c.uid) }

const limit = 819200

func TestOpen(t *testing.T) {
	var ns Namespace
	var used quota.Count
	root, user, other := caller{}, caller{uid: 1000}, caller{uid: 1001}
	small := &Attr{MaxMsg: 1, MsgSize: 1}
	for _, c := range []struct {
		name  string
		who   caller
		queue string
		flags uint32
		attr  *Attr
		limit uint64
		want  error
	}{
		{"no name", user, "", unix.O_CREAT, nil, limit, unix.ENOENT},
		{"a path", user, "a/b", unix.O_CREAT, nil, limit, unix.EACCES},
		{"not there", user, "q", unix.O_RDWR, nil, limit, unix.ENOENT},
		{"too many messages", user, "q", unix.O_CREAT, &Attr{MaxMsg: 11, MsgSize: 1}, limit, unix.EINVAL},
		{"no messages", user, "q", unix.O_CREAT, &Attr{MsgSize: 1}, limit, unix.EINVAL},
		{"beyond RLIMIT_MSGQUEUE", user, "q", unix.O_CREAT, nil, 1000, unix.EMFILE},
		{"more for root, but not all", root, "q", unix.O_CREAT, &Attr{MaxMsg: hardMax, MsgSize: hardSize}, limit, unix.EMFILE},
		{"made", user, "q", unix.O_CREAT | unix.O_RDWR, small, limit, nil},
		{"exclusive", user, "q", unix.O_CREAT | unix.O_EXCL, small, limit, unix.EEXIST},
		{"others may read", other, "q", unix.O_RDONLY, nil, limit, nil},
		{"others may not write", other, "q", unix.O_WRONLY, nil, limit, unix.EACCES},
	} {
		d, err := ns.Open(c.who, c.queue, c.flags, 0666, c.attr, Allowance{&used, c.limit})
		if err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if d != nil {
			d.DecRef()
		}
	}
	if err := ns.Unlink(other, "q"); err != unix.EACCES {
		t.Errorf("unlinked by another: %v", err)
	}
	if err := ns.Unlink(user, "q"); err != nil {
		t.Error(err)
	}
	if ns.count != 0 || used.Used() != 0 {
		t.Errorf("%d queues and %d bytes are left", ns.count, used.Used())
	}
}

func TestOrderAndNotice(t *testing.T) {
	var ns Namespace
	c := caller{uid: 5}
	d, err := ns.Open(c, "q", unix.O_CREAT|unix.O_RDWR, 0600, &Attr{MaxMsg: 4, MsgSize: 8}, Allowance{new(quota.Count), limit})
	if err != nil {
		t.Fatal(err)
	}
	q := d.File.(*File).Queue
	told := 0
	if err := q.SetNotify(5, func(vfs.Caller) { told++ }); err != nil {
		t.Fatal(err)
	}
	if err := q.SetNotify(6, func(vfs.Caller) {}); err != unix.EBUSY {
		t.Errorf("second notice: %v", err)
	}
	for i, prio := range []uint32{1, 7, 1, 7} {
		if err := q.Send(c, []byte{byte(i)}, prio); err != nil {
			t.Fatal(err)
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	if m := d.Readiness(waiter.In | waiter.Out); m != waiter.In {
		t.Errorf("full: readiness %#x", m)
	}
	if err := q.Send(c, nil, 0); err != unix.EAGAIN {
		t.Errorf("full: %v", err)
	}
	for _, want := range []byte{1, 3, 0, 2} {
		data, _, err := q.Receive(8)
		if err != nil || data[0] != want {
			t.Errorf("got %v %v, want %d", data, err, want)
		}
	}
	if _, _, err := q.Receive(8); err != unix.EAGAIN {
		t.Errorf("empty: %v", err)
	}
	q.SetNotify(5, func(vfs.Caller) { told++ })
	d.File.Flush(c)
	q.Send(c, nil, 0)
	if told != 1 {
		t.Error("told after closing")
	}
	d.DecRef()
}

// TestMemoryOfMessages checks that messages are counted with all that the
// sandbox's pipes and sockets hold, and given back.
func TestMemoryOfMessages(t *testing.T) {
	before := shmem.Buffers.Used()
	shmem.Buffers.SetLimit(before + 3*(1000+messageCharged))
	defer shmem.Buffers.SetLimit(0)
	var ns Namespace
	c := caller{uid: 5}
	d, err := ns.Open(c, "q", unix.O_CREAT|unix.O_RDWR, 0600, &Attr{MaxMsg: 10, MsgSize: 1000}, Allowance{new(quota.Count), limit})
	if err != nil {
		t.Fatal(err)
	}
	q := d.File.(*File).Queue
	data := make([]byte, 1000)
	for range 3 {
		if err := q.Send(c, data, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Send(c, nil, 0); err != unix.ENOMEM {
		t.Errorf("too much: %v", err)
	}
	if _, _, err := q.Receive(1000); err != nil {
		t.Fatal(err)
	}
	if err := q.Send(c, data, 0); err != nil {
		t.Errorf("after one was received: %v", err)
	}
	if err := ns.Unlink(c, "q"); err != nil {
		t.Fatal(err)
	}
	d.DecRef()
	if n := shmem.Buffers.Used() - before; n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}
