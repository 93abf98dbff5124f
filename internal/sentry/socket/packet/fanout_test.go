package packet

import (
	"runtime"
	"testing"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

// Who hands out the frames of a group does so until another one does, and what has been handed to
// who is closed is not counted any more.
func TestLeaderGoes(t *testing.T) {
	n, r := network.Loopback(), new(socket.Registry)
	before := shmem.Buffers.Used()
	sender := open(t, n, r, unix.SOCK_RAW, 0)
	var members [2]*Socket
	for i := range members {
		members[i] = open(t, n, r, unix.SOCK_RAW, ownProtocol)
		if err := members[i].SetOption(caller{}, unix.SOL_PACKET, unix.PACKET_FANOUT, []byte{1, 0, unix.PACKET_FANOUT_LB, 0}); err != nil {
			t.Fatal(err)
		}
	}
	fanouts.Lock() // the first one waits for it to leave
	gone := make(chan struct{})
	go func() {
		members[0].Release()
		close(gone)
	}()
	for members[0].bindMu.TryLock() {
		members[0].bindMu.Unlock()
		runtime.Gosched()
	}
	const frames = 400
	for range frames {
		if _, err := sender.Send(caller{}, frameOf("text"), &socket.Message{Addr: onLink(1)}); err != nil {
			t.Error(err)
		}
		runtime.Gosched()
	}
	fanouts.Unlock()
	<-gone
	if n := len(members[1].queue); n != frames/2 {
		t.Errorf("of %d frames the second of two members has %d", frames, n)
	}
	members[1].Release()
	sender.Release()
	if left := shmem.Buffers.Used() - before; left != 0 {
		t.Errorf("%d bytes stay counted", left)
	}
}
