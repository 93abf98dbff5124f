package inet

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

// keepersOf is how many endpoints headers are kept of for a socket.
func keepersOf(s *Socket) (n int) {
	keepers.RLock()
	defer keepers.RUnlock()
	for _, k := range keepers.of {
		if k == s {
			n++
		}
	}
	return n
}

// TestKeptOfOneEndpoint: headers are kept of the endpoint that a socket has, and no longer of those before it.
func TestKeptOfOneEndpoint(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	peer, s := n.bound(t), n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	defer peer.Release()
	want := func(endpoints int) {
		t.Helper()
		if got := keepersOf(s); got != endpoints {
			t.Errorf("they are kept of %d endpoints, want %d", got, endpoints)
		}
	}
	set := func(on int32) {
		t.Helper()
		if err := s.SetOption(root, unix.IPPROTO_IP, unix.IP_RECVOPTS, int32Bytes(on)); err != nil {
			t.Error(err)
		}
	}
	set(1)
	want(1)
	for range 3 {
		before := s.ep.Load()
		if _, err := s.Send(root, nil, &socket.Message{Addr: peer.Name()}); err != nil { // it has a port then, which is forgotten
			t.Error(err)
		}
		if err := s.Connect(root, peer.Name()); err != nil {
			t.Error(err)
		}
		if err := s.Connect(root, []byte{unix.AF_UNSPEC, 0}); err != nil {
			t.Error(err)
		}
		if s.ep.Load() == before {
			t.Error("it has the endpoint that it had")
		}
		want(1)
	}
	set(0)
	want(0)
	set(1)
	s.Release()
	want(0)
}

// TestOptionsOfWhatAcknowledges has a stream's header get options while the stack sends segments by itself.
func TestOptionsOfWhatAcknowledges(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	for range 5 {
		a, b := n.pair(t, false)
		var wg sync.WaitGroup
		wg.Go(func() {
			stream{a}.Write(make([]byte, 1<<20))
			a.Shutdown(unix.SHUT_WR)
		})
		wg.Go(func() { io.Copy(io.Discard, stream{b}) })
		for _, s := range []*Socket{a, b} {
			if err := s.SetOption(root, unix.IPPROTO_IP, unix.IP_OPTIONS, []byte{optionNop, optionNop, optionNop, optionNop}); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		a.Release()
		b.Release()
	}
}

// TestOptionsOfWhatWaits: what a stream has taken already leaves room for options as well, once there are any.
func TestOptionsOfWhatWaits(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	a, b := n.pair(t, false)
	defer a.Release()
	defer b.Release()
	// More than there is room for at the other end, so that some wait.
	b.ep.Load().SocketOptions().SetReceiveBufferSize(farFrom, true)
	data := patterned(1 << 20)
	done := make(chan error)
	go func() {
		_, err := stream{a}.Write(data)
		a.Shutdown(unix.SHUT_WR)
		done <- err
	}()
	got := make([]byte, len(data)/4)
	if _, err := io.ReadFull(stream{b}, got); err != nil {
		t.Fatal(err)
	}
	options := bytes.Repeat([]byte{optionNop}, maxIPOptions)
	if err := a.SetOption(root, unix.IPPROTO_IP, unix.IP_OPTIONS, options); err != nil {
		t.Fatal(err)
	}
	if e := a.ep.Load(); e.fitted != len(options) {
		t.Errorf("segments leave room for %d bytes", e.fitted)
	}
	rest, err := io.ReadAll(stream{b})
	if err != nil || !bytes.Equal(append(got, rest...), data) {
		t.Errorf("%d bytes came, %v; want the %d that were sent", len(got)+len(rest), err, len(data))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
