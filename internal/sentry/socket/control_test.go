package socket

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

func TestControlRoundTrip(t *testing.T) {
	b := ControlBuilder{Room: 100}
	b.Add(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, Ucred{1, 2, 3}.Bytes())
	b.Add(unix.SOL_SOCKET, unix.SCM_RIGHTS, []byte{5, 0, 0, 0, 7, 0, 0, 0})
	if b.Truncated || len(b.Buf) != 32+24 {
		t.Fatalf("%d bytes, truncated %v", len(b.Buf), b.Truncated)
	}
	msgs, err := ParseControl(b.Buf)
	if err != nil || len(msgs) != 2 {
		t.Fatal(msgs, err)
	}
	if u, err := msgs[0].Credentials(); err != nil || u != (Ucred{1, 2, 3}) {
		t.Error(u, err)
	}
	if fds, err := msgs[1].Rights(); err != nil || len(fds) != 2 || fds[0] != 5 || fds[1] != 7 {
		t.Error(fds, err)
	}
	// The standard library's parser must agree with ours.
	std, err := unix.ParseSocketControlMessage(b.Buf)
	if err != nil || len(std) != 2 || !bytes.Equal(std[1].Data, msgs[1].Data) {
		t.Error(std, err)
	}
}

func TestControlErrors(t *testing.T) {
	hdr := func(n byte, rest ...byte) []byte {
		return append([]byte{n, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, rest...)
	}
	for _, c := range []struct {
		name string
		raw  []byte
		n    int
		err  error
	}{
		{"empty", nil, 0, nil},
		{"shorter than a header", hdr(16)[:15], 0, nil},
		{"no data", hdr(16), 1, nil},
		{"length below a header", hdr(15), 0, unix.EINVAL},
		{"length beyond the buffer", hdr(17), 0, unix.EINVAL},
		{"unpadded end", hdr(17, 1), 1, nil},
		{"rest too short for a header", hdr(17, 1, 0, 0, 0, 0, 0, 0, 0, 9), 1, nil},
	} {
		if got, err := ParseControl(c.raw); len(got) != c.n || err != c.err {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func TestControlTruncates(t *testing.T) {
	for room, want := range map[int]int{0: 0, 15: 0, 16: 16, 20: 20, 24: 24, 23: 23} {
		b := ControlBuilder{Room: room}
		b.Add(1, 1, make([]byte, 9))
		if !b.Truncated || len(b.Buf) != want {
			t.Errorf("room %d: %d bytes, truncated %v; want %d", room, len(b.Buf), b.Truncated, want)
		}
	}
}

func FuzzControl(f *testing.F) {
	b := ControlBuilder{Room: 100}
	b.Add(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, Ucred{1, 2, 3}.Bytes())
	b.Add(unix.SOL_SOCKET, unix.SCM_RIGHTS, []byte{5, 0, 0, 0, 7, 0, 0, 0})
	f.Add(b.Buf)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		msgs, err := ParseControl(raw)
		if err != nil {
			return
		}
		total := 0
		for _, m := range msgs {
			total += headerSize + len(m.Data)
			m.Credentials()
			if fds, err := m.Rights(); err == nil && len(fds) > MaxRights {
				t.Errorf("%d descriptors", len(fds))
			}
		}
		if total > len(raw) {
			t.Errorf("messages of %d bytes in %d", total, len(raw))
		}
	})
}
