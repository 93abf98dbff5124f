package inet

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"coffer/internal/bpf"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// TestFilterComesAndGoes has filters come and go while bytes are sent, which drop segments or cut them: all arrives.
func TestFilterComesAndGoes(t *testing.T) {
	nothingHeld(t)
	var filters []*bpf.SocketFilter
	for _, most := range []uint32{0, 0, 33, 1000, 40000} {
		f, err := bpf.NewSocketFilter([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: most}})
		if err != nil {
			t.Fatal(err)
		}
		filters = append(filters, f)
	}
	for _, nearby := range []bool{true, false} {
		n := newNet()
		// With a window that is smaller than a segment the stack may stop for ever (docs/networking.md).
		room := tcpip.TCPReceiveBufferSizeRangeOption{Min: 1 << 12, Default: 1 << 20, Max: 1 << 22}
		if err := n.Stack().SetTransportProtocolOption(tcp.ProtocolNumber, &room); err != nil {
			t.Fatal(err)
		}
		x, y := n.pair(t, nearby)
		sent := make([]byte, 1<<20)
		for i := range sent {
			sent[i] = byte(i * 7 >> 4)
		}
		set := func(f *bpf.SocketFilter) {
			y.InheritFilter(f, &socket.Filter{})
			y.mu.Lock()
			defer y.mu.Unlock()
			y.examineSegments(y.ep.Load())
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for at := 0; at < len(sent); {
				n := min(1+rand.IntN(50000), len(sent)-at)
				if _, err := (stream{x}).Write(sent[at : at+n]); err != nil {
					t.Error(err)
				}
				at += n
			}
			x.Shutdown(unix.SHUT_WR)
		})
		wg.Go(func() {
			for range 100 {
				set(filters[rand.IntN(len(filters))])
				time.Sleep(time.Millisecond)
				set(nil)
				time.Sleep(time.Millisecond)
			}
		})
		got, err := io.ReadAll(stream{y})
		if wg.Wait(); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
		}
		x.Release()
		y.Release()
	}
}

// TestFilteredSenderGone has who sends go while a filter keeps bytes back, and then who receives.
func TestFilteredSenderGone(t *testing.T) {
	nothingHeld(t)
	drop, _ := bpf.NewSocketFilter([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}})
	for _, comes := range []bool{true, false} {
		x, y := newNet().pair(t, true)
		y.InheritFilter(drop, &socket.Filter{})
		if _, err := (stream{x}).Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		x.Release()
		if _, err := y.Recv(make([]byte, 4), &socket.Message{}); err != unix.EAGAIN {
			t.Errorf("%v, want EAGAIN", err)
		}
		if comes {
			y.InheritFilter(nil, &socket.Filter{})
			if got, err := io.ReadAll(stream{y}); err != nil || string(got) != "late" {
				t.Errorf("%q, %v", got, err)
			}
		}
		y.Release()
	}
}

// TestFilteredBothEnded: who has shut down a connection as its peer has still waits for what a filter keeps back.
func TestFilteredBothEnded(t *testing.T) {
	nothingHeld(t)
	drop, _ := bpf.NewSocketFilter([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}})
	for _, handshakes := range []bool{false, true} {
		n := newNet()
		n.handshakes = handshakes
		x, y := n.pair(t, true)
		y.InheritFilter(drop, &socket.Filter{})
		for range 20 {
			if _, err := (stream{x}).Write([]byte("late")); err != nil {
				t.Fatal(err)
			}
		}
		end := y.end.Load()
		end.mu.Lock()
		after := end.in().after
		end.mu.Unlock()
		if after > lastAgain/2 {
			t.Errorf("what is sent after it has it come again only after %v", after)
		}
		x.Shutdown(unix.SHUT_WR)
		y.Shutdown(unix.SHUT_WR)
		if _, err := y.Recv(make([]byte, 4), &socket.Message{}); err != unix.EAGAIN {
			t.Errorf("%v, want EAGAIN", err)
		}
		if _, _, err := y.RecvTo(&memory{b: make([]byte, 4)}, 4, 0); err != unix.EAGAIN {
			t.Errorf("%v, want EAGAIN", err)
		}
		if m := y.Readiness(waiter.Readable | waiter.RdHup | waiter.Hup); m != 0 {
			t.Errorf("ready for %v", m)
		}
		y.InheritFilter(nil, &socket.Filter{})
		if got, err := io.ReadAll(stream{y}); err != nil || len(got) != 80 {
			t.Errorf("%q, %v", got, err)
		}
		x.Release()
		y.Release()
	}
}

// TestFilteredReset: of a reset that a filter keeps back nobody hears, and nothing comes after it.
func TestFilteredReset(t *testing.T) {
	nothingHeld(t)
	drop, _ := bpf.NewSocketFilter([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}})
	for _, handshakes := range []bool{false, true} {
		n := newNet()
		n.handshakes = handshakes
		x, y := n.pair(t, true)
		set := func(f *bpf.SocketFilter) {
			y.InheritFilter(f, &socket.Filter{})
			y.mu.Lock()
			defer y.mu.Unlock()
			y.examineSegments(y.ep.Load())
		}
		set(drop)
		if _, err := (stream{x}).Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		applyLinger(x.ep.Load(), [2]int32{1, 0})
		end := x.end.Load()
		x.Release()
		set(nil)
		end.showAgain()
		for range 2 {
			if n, err := y.Recv(make([]byte, 4), &socket.Message{}); err != unix.EAGAIN {
				t.Errorf("%d, %v, want EAGAIN", n, err)
			}
		}
		if _, err := (stream{y}).Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		again(y, waiter.Err, func() error {
			if y.Readiness(waiter.Err) == 0 {
				return unix.EAGAIN
			}
			return nil
		})
		for _, want := range []error{unix.ECONNRESET, nil} {
			if n, err := y.Recv(make([]byte, 4), &socket.Message{}); n != 0 || err != want {
				t.Errorf("%d, %v, want %v", n, err, want)
			}
		}
		y.Release()
	}
}

// TestFilteredResetThenClosed: of a connection whose reset nobody heard nothing is left when the other end is closed too,
// whether or not that has sent anything since, nor of one whose end was answered with resets that were kept back.
func TestFilteredResetThenClosed(t *testing.T) {
	nothingHeld(t)
	noReset, _ := bpf.NewSocketFilter([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13}, {Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 4, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16}, {Code: unix.BPF_RET | unix.BPF_K},
	})
	for _, linger := range []int32{0, 1} {
		for _, sends := range []bool{false, true} {
			for _, ends := range []int32{0, 1} {
				n := newNet()
				x, y := n.pair(t, true)
				y.InheritFilter(noReset, &socket.Filter{})
				applyLinger(x.ep.Load(), [2]int32{linger, 0})
				x.Release()
				end := y.end.Load()
				if sends {
					if _, err := (stream{y}).Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
				}
				applyLinger(y.ep.Load(), [2]int32{ends, 0})
				y.Release()
				end.mu.Lock()
				if w := end.out().withheld; w != (withheld{}) {
					t.Errorf("%d, %v, %d: it still sends: %+v", linger, sends, ends, w)
				}
				end.mu.Unlock()
				for side := range end.pair.ends {
					if state := (half{end.pair, side}).current(); linger == 1 || sends {
						if state != tcp.StateClose {
							t.Errorf("%d, %v, %d: side %d is in state %v", linger, sends, ends, side, state)
						}
					}
				}
			}
		}
	}
}

// TestLingersAfterReset: close(2) does not wait for bytes that a reset has answered.
func TestLingersAfterReset(t *testing.T) {
	x, y := newNet().pair(t, true)
	x.Release()
	if _, err := (stream{y}).Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	applyLinger(y.ep.Load(), [2]int32{1, 60})
	y.Release()
	if limit, done := y.Lingers(); limit != 60*time.Second || !done() {
		t.Errorf("close waits up to %v", limit)
	}
}
