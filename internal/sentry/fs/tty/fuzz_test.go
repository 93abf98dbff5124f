package tty

import (
	"testing"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func entryFor(ch chan struct{}) *waiter.Entry {
	return &waiter.Entry{Mask: waiter.All, Listener: waiter.Channel(ch)}
}

// FuzzLineDiscipline checks that no sequence of input, output, reads and
// changes of modes breaks the bounds of the queues.
func FuzzLineDiscipline(f *testing.F) {
	f.Add([]byte("hello\x7f\x15\x17\n"), uint32(0), uint32(0), uint32(unix.ICANON), []byte("out\t\n"))
	f.Add([]byte("\xff\x03\x13\x11\x04\x12"), uint32(unix.PARMRK|unix.IXON), uint32(unix.XTABS), ^uint32(0), []byte{0xff, 8, 9})
	f.Fuzz(func(t *testing.T, in []byte, iflag, oflag, lflag uint32, out []byte) {
		d := New()
		change := func(m *Termios) {
			m.Iflag, m.Oflag, m.Lflag = iflag, oflag, lflag
			copy(m.CC[:], in)
		}
		var b [100]byte
		for range 3 {
			for i := 0; i < 200; i++ {
				d.Input(in)
				d.Output(out)
			}
			if d.in.len() > inputSize || d.in.line < d.in.tail || d.in.line > d.in.head {
				t.Fatalf("input queue tail %d, line %d, head %d", d.in.tail, d.in.line, d.in.head)
			}
			if d.out.n > outputSize+echoSize || d.held.n > echoSize || d.column < 0 {
				t.Fatalf("output %d, held %d, column %d", d.out.n, d.held.n, d.column)
			}
			d.SetTermios(false, change)
			d.ReadSlave(b[:], false)
			d.ReadMaster(b[:])
			d.Queued()
			d.SlaveReadiness(waiter.All)
		}
	})
}

// FuzzTermios checks that what a program sets is what it reads back, but for
// what a pseudoterminal forces.
func FuzzTermios(f *testing.F) {
	var b [Termios2Size]byte
	DefaultTermios.Put(b[:])
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < Termios2Size {
			return
		}
		d := New()
		d.SetTermios(false, func(m *Termios) { m.Get(b[:Termios2Size]) })
		once := d.Termios()
		d.SetTermios(true, func(m *Termios) {
			var b [Termios2Size]byte
			once.Put(b[:])
			m.Get(b[:])
		})
		if twice := d.Termios(); twice != once {
			t.Errorf("set %+v, then %+v", once, twice)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	d := New()
	line := []byte("the quick brown fox jumps over the lazy dog and then some more text\n")
	var buf [4096]byte
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		for d.Output(line) < len(line) {
			for {
				if _, err := d.ReadMaster(buf[:]); err != nil {
					break
				}
			}
		}
	}
}

func BenchmarkType(b *testing.B) {
	d := New()
	var buf [4096]byte
	line := []byte("echo hello\n")
	b.ReportAllocs()
	for b.Loop() {
		d.Input(line)
		d.ReadSlave(buf[:], false)
		d.ReadMaster(buf[:])
	}
}
