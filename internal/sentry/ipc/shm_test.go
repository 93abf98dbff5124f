package ipc

import (
	"testing"

	"coffer/internal/sentry/shmem"

	"golang.org/x/sys/unix"
)

// TestSegmentsAreCounted takes what the sandbox may have of shared memory and
// gives it back.
func TestSegmentsAreCounted(t *testing.T) {
	before := shmem.Sandbox.Used()
	shmem.Sandbox.SetLimit(before + 10*4096)
	defer shmem.Sandbox.SetLimit(0)
	r := &NewNamespace().Segments
	get := func(size uint64, flags uint32) (int32, unix.Errno) {
		id, err := r.Get(root, Private, size, Creat|0o600|flags)
		if err != nil {
			return 0, err.(unix.Errno)
		}
		return id, 0
	}
	for _, c := range []struct {
		size  uint64
		flags uint32
		errno unix.Errno
	}{
		{10*4096 + 1, 0, unix.ENOMEM}, {MaxSegment, 0, unix.ENOMEM}, {MaxSegment, shmNoReserve, 0}, {6 * 4096, 0, 0}, {4*4096 + 1, 0, unix.ENOMEM},
	} {
		if _, errno := get(c.size, c.flags); errno != c.errno {
			t.Errorf("%d bytes, flags %#o: %v, want %v", c.size, c.flags, errno, c.errno)
		}
	}
	id, errno := get(4*4096-1, 0)
	if errno != 0 || shmem.Sandbox.Room() != 0 {
		t.Fatalf("the rest: %v, %d bytes are left", errno, shmem.Sandbox.Room())
	}
	s, err := r.Find(id)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Attach(root, false, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(root); err != nil {
		t.Fatal(err)
	}
	if room := shmem.Sandbox.Room(); room != 0 {
		t.Errorf("a segment that is in use gave %d bytes back", room)
	}
	d.DecRef()
	if room := shmem.Sandbox.Room(); room != 4*4096 {
		t.Errorf("the last user's end gave %d bytes back", room)
	}
}
