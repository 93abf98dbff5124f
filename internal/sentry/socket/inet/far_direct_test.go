package inet

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"coffer/internal/link"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// patterned are n bytes that tell when some are lost or change places.
func patterned(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestFarDirectFault sends from memory that ends: the pieces before that one are sent, and what Send
// makes of the rest follows them.
func TestFarDirectFault(t *testing.T) {
	x, y := newNet().pair(t, false)
	defer x.Release()
	defer y.Release()
	there := patterned(farPiece + farPiece/2)
	x.ep.Load().SocketOptions().SetSendBufferSize(4*farPiece, true)
	n, ok, err := x.SendFrom(&memory{b: there}, 2*farPiece, 0)
	if n != farPiece || !ok || err != nil {
		t.Fatalf("%d bytes, %t, %v; want the first piece, %d", n, ok, err, farPiece)
	}
	if n, ok, err := x.SendFrom(&memory{b: there[n:]}, farPiece, 0); n != 0 || ok || err != nil {
		t.Errorf("%d bytes, %t, %v of a piece that is not there", n, ok, err)
	}
	go func() {
		stream{x}.Write(there[n:])
		x.Shutdown(unix.SHUT_WR)
	}()
	if got, err := io.ReadAll(stream{y}); err != nil || !bytes.Equal(got, there) {
		t.Errorf("%d bytes, %v; want the %d that were there", len(got), err, len(there))
	}
}

// TestFarDirectJoins: what a call leaves of a segment, the next one fills up, if that is little and Nagle's
// algorithm keeps it.
func TestFarDirectJoins(t *testing.T) {
	const size, calls = farPiece + 1000, 2*farJoined/1000 + 1
	for _, delay := range []bool{true, false} {
		x, y := newNet().pair(t, false)
		x.ep.Load().SocketOptions().SetDelayOption(delay)
		x.ep.Load().SocketOptions().SetSendBufferSize(calls*size, false)
		got := make(chan []byte)
		go func() {
			all, _ := io.ReadAll(stream{y})
			got <- all
		}()
		there := patterned(calls * size)
		over := 0
		for i := range calls {
			if over > farJoined || !delay {
				over = 0
			}
			over += 1000
			n, ok, err := x.SendFrom(&memory{b: there[i*size:][:size]}, size, 0)
			if left := int(x.sentBefore-x.cutFrom) % link.SegmentMax; n != size || !ok || err != nil || left != over {
				t.Fatalf("call %d: %d bytes, %t, %v, and a segment of %d is left; want %d", i, n, ok, err, left, over)
			}
		}
		x.Shutdown(unix.SHUT_WR)
		if !bytes.Equal(<-got, there) {
			t.Error("what came is not what was sent")
		}
		x.Release()
		y.Release()
	}
}

// TestPieceOf: pieces end where segments do, but for the last one.
func TestPieceOf(t *testing.T) {
	const whole = link.SegmentMax
	for _, test := range []struct {
		left, over int
		want       []int
	}{
		{whole - 1, 0, []int{whole - 1}},
		{whole, 0, []int{whole}},
		{128 << 10, 0, []int{2 * whole, 128<<10 - 2*whole}},
		{128 << 10, 564, []int{whole - 564, whole, 128<<10 - 2*whole + 564}},
		{100, 564, []int{100}},
		{5*whole + 1, 1, []int{whole - 1, 2 * whole, 2 * whole, 2}},
	} {
		left, over := test.left, test.over
		var got []int
		for left > 0 {
			got = append(got, pieceOf(left, over))
			left -= got[len(got)-1]
			over = 0
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%d bytes after %d: pieces of %v, want %v", test.left, test.over, got, test.want)
		}
	}
}

// TestFarDirectFull sends more than the buffer has room for.
func TestFarDirectFull(t *testing.T) {
	x, y := newNet().pair(t, false)
	defer x.Release()
	defer y.Release()
	p := patterned(4 << 20)
	x.ep.Load().SocketOptions().SetSendBufferSize(farFrom, true)
	y.ep.Load().SocketOptions().SetReceiveBufferSize(farFrom, true)
	done := 0
	for {
		n, ok, err := x.SendFrom(&memory{b: p[done:]}, len(p)-done, 0)
		if err == unix.EAGAIN && ok && n == 0 {
			break
		}
		if err != nil || !ok || n == 0 {
			t.Fatalf("after %d bytes: %d, %t, %v", done, n, ok, err)
		}
		done += n
	}
	if x.Readiness(waiter.Writable)&waiter.Out != 0 {
		t.Error("there is room")
	}
	got := make([]byte, done)
	if _, err := io.ReadFull(stream{y}, got); err != nil || !bytes.Equal(got, p[:done]) {
		t.Errorf("what came is not what was sent: %v", err)
	}
}

// TestFarDirectOptions: segments leave room for options of their headers.
func TestFarDirectOptions(t *testing.T) {
	x, y := newNet().pair(t, false)
	defer x.Release()
	defer y.Release()
	nops := []byte{optionNop, optionNop, optionNop, optionNop}
	if err := x.SetOption(root, unix.IPPROTO_IP, unix.IP_OPTIONS, nops); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := x.SendFrom(&memory{b: patterned(farFrom)}, farFrom, 0); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if e := x.ep.Load(); e.fitted != len(nops) {
		t.Errorf("they leave room for %d bytes", e.fitted)
	}
}

// TestFarDirectWhileItEnds has the socket be shut down while bytes are copied to it.
func TestFarDirectWhileItEnds(t *testing.T) {
	x, y := newNet().pair(t, false)
	p := make([]byte, farPiece)
	n, ok, err := x.SendFrom(&memory{b: p, during: func() { x.Shutdown(unix.SHUT_WR) }}, len(p), 0)
	if n != 0 || ok || err != nil {
		t.Errorf("%d bytes, %t, %v: they are sent after the end", n, ok, err)
	}
	if got, err := io.ReadAll(stream{y}); len(got) != 0 || err != nil {
		t.Errorf("%d bytes have come, %v", len(got), err)
	}
	x.Release()
	y.Release()
}
