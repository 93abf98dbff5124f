package pipefs

import (
	"bytes"
	"sync"
	"testing"

	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

const both = waiter.In | waiter.Out | waiter.Always

func pair(flags uint32) (r, w *vfs.FileDescription) { return New(nil, flags) }

func TestReadiness(t *testing.T) {
	r, w := pair(0)
	check := func(when string, d *vfs.FileDescription, want waiter.Mask) {
		t.Helper()
		if got := d.Readiness(both); got != want {
			t.Errorf("%s: readiness %#x, want %#x", when, got, want)
		}
	}
	check("empty", r, 0)
	check("empty", w, waiter.Out)
	if n, err := w.Write(nil, make([]byte, DefaultSize-100)); n != DefaultSize-100 || err != nil {
		t.Fatal(n, err)
	}
	check("the last page begun", w, 0)
	check("the last page begun", r, waiter.In)
	if _, err := w.Write(nil, make([]byte, 101)); err != unix.EAGAIN {
		t.Errorf("an atomic write that does not fit: %v, want EAGAIN", err)
	}
	if n, err := w.Write(nil, make([]byte, 100)); n != 100 || err != nil {
		t.Errorf("what fits the last page: %d %v", n, err)
	}
	w.DecRef()
	check("writer gone", r, waiter.In|waiter.Hup)
	if n, _ := r.Read(nil, make([]byte, 2*DefaultSize)); n != DefaultSize {
		t.Errorf("read %d", n)
	}
	check("drained", r, waiter.Hup)
	if n, err := r.Read(nil, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("end of file: %d %v", n, err)
	}
	r.DecRef()

	r, w = pair(0)
	r.DecRef()
	check("reader gone", w, waiter.Out|waiter.Err)
	if _, err := w.Write(nil, []byte("x")); err != unix.EPIPE {
		t.Errorf("write without reader: %v", err)
	}
	w.DecRef()
}

func TestPackets(t *testing.T) {
	r, w := pair(unix.O_DIRECT)
	if n, err := w.Write(nil, bytes.Repeat([]byte("a"), Atomic+3)); n != Atomic+3 || err != nil {
		t.Fatal(n, err)
	}
	w.SetStatusFlags(0)
	for range 2 {
		if _, err := w.Write(nil, []byte("stream")); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 8192)
	if n, _ := r.Read(nil, buf[:10]); n != 10 {
		t.Errorf("first packet in part: %d", n)
	}
	if n, _ := r.Read(nil, buf); n != 3 {
		t.Errorf("the second packet, the first's rest being lost: %d, want 3", n)
	}
	if n, _ := r.Read(nil, buf); n != 12 {
		t.Errorf("stream writes merge: %d, want 12", n)
	}
	w.SetStatusFlags(unix.O_DIRECT)
	slots := 0
	for {
		if _, err := w.Write(nil, []byte("p")); err != nil {
			break
		}
		slots++
	}
	if slots != DefaultSize/page {
		t.Errorf("%d packets fit, want one a page", slots)
	}
	r.DecRef()
	w.DecRef()
}

// TestUnread gives back what was read: pages and packets are what they were.
func TestUnread(t *testing.T) {
	r, w := pair(0)
	data := make([]byte, 3*page+5)
	for i := range data {
		data[i] = byte(i % 251)
	}
	if n, err := w.Write(nil, data); n != len(data) || err != nil {
		t.Fatal(n, err)
	}
	pipe, _, _ := Of(r.File)
	buf := make([]byte, len(data))
	for _, take := range []int{1, page - 1, page, 2*page + 1, len(data)} {
		if n, err := r.Read(nil, buf[:take]); n != take || err != nil {
			t.Fatal(n, err)
		}
		r.File.(vfs.Unreader).Unread(buf[take/2 : take])
		r.File.(vfs.Unreader).Unread(buf[:take/2])
		if pipe.Len() != len(data) || pipe.used() > 5 {
			t.Errorf("%d bytes in %d pages after %d were given back", pipe.Len(), pipe.used(), take)
		}
	}
	if n, _ := r.Read(nil, buf); n != len(data) || !bytes.Equal(buf, data) {
		t.Errorf("%d bytes, or others than before", n)
	}
	w.SetStatusFlags(unix.O_DIRECT)
	w.Write(nil, []byte("one"))
	w.Write(nil, []byte("two"))
	n, _ := r.Read(nil, buf)
	r.File.(vfs.Unreader).Unread(buf[:n])
	for _, want := range []string{"one", "two"} {
		if n, _ := r.Read(nil, buf); string(buf[:n]) != want {
			t.Errorf("%q, not the packet %q", buf[:n], want)
		}
	}
}

// TestPages has the sizes that Linux gives for the same writes.
func TestPages(t *testing.T) {
	for _, c := range []struct {
		first, then, want int
	}{
		{1, 1 << 17, DefaultSize - page},         // whole pages never join
		{1, 1<<17 + 5, DefaultSize - page + 5},   // the odd bytes do
		{4090, 1<<17 + 7, DefaultSize - page},    // unless they don't fit
		{page, 1 << 17, DefaultSize - page},      //
		{2 * page, 100000, DefaultSize - 2*page}, //
		{DefaultSize - 1, 2*page + 1, 1},         //
		{0, DefaultSize + 3, DefaultSize},        //
	} {
		r, w := pair(0)
		w.Write(nil, make([]byte, c.first))
		if n, _ := w.Write(nil, make([]byte, c.then)); n != c.want {
			t.Errorf("%d then %d bytes: %d fit, want %d", c.first, c.then, n, c.want)
		}
		r.DecRef()
		w.DecRef()
	}
}

func TestSetSize(t *testing.T) {
	r, w := pair(0)
	p, _, _ := Of(r.File)
	for _, c := range []struct {
		in   uint64
		want int
		err  error
	}{
		{1, 4096, nil}, {4097, 8192, nil}, {1 << 20, 1 << 20, nil}, {1<<20 + 1, 0, unix.EPERM},
		{1 << 40, 0, unix.EINVAL},
	} {
		if got, err := p.SetSize(c.in); got != c.want || err != c.err {
			t.Errorf("SetSize(%d) = %d, %v; want %d, %v", c.in, got, err, c.want, c.err)
		}
	}
	w.Write(nil, make([]byte, 9000))
	if _, err := p.SetSize(8192); err != unix.EBUSY {
		t.Errorf("smaller than its contents: %v", err)
	}
	r.DecRef()
	w.DecRef()
}

func TestFIFOOpen(t *testing.T) {
	p := NewFIFO()
	if _, err := p.Open(nil, unix.O_WRONLY|unix.O_NONBLOCK); err != unix.ENXIO {
		t.Errorf("non-blocking writer without reader: %v", err)
	}
	f, err := p.Open(nil, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	r := f.(*End)
	if r.OpenReady() != unix.EAGAIN {
		t.Error("a reader must wait for a writer")
	}
	ch := waiter.NewChannel()
	e := waiter.Entry{Mask: waiter.In, Listener: ch}
	r.Register(&e)
	f, _ = p.Open(nil, unix.O_WRONLY)
	w := f.(*End)
	if w.OpenReady() != nil {
		t.Error("a writer must not wait for a reader that is there")
	}
	w.Release()
	select {
	case <-ch:
	default:
		t.Error("the reader was not woken")
	}
	r.Unregister(&e)
	if r.OpenReady() != nil {
		t.Error("a writer came and went, and the reader still waits")
	}
	if m := r.Readiness(both); m != waiter.Hup {
		t.Errorf("after the writer left: %#x", m)
	}
	r.Release()

	f, _ = p.Open(nil, unix.O_RDONLY|unix.O_NONBLOCK)
	if m := f.Readiness(both); m != 0 {
		t.Errorf("a fresh reader: %#x, want nothing, not even POLLHUP", m)
	}
	if n, err := f.Read(nil, make([]byte, 1), 0); n != 0 || err != nil {
		t.Errorf("read without writers: %d %v", n, err)
	}
}

// TestManyPipes makes pipes until they get small, and counts that all the
// capacity comes back.
func TestManyPipes(t *testing.T) {
	before := pages.Load()
	var ends []*vfs.FileDescription
	size := func() int { p, _, _ := Of(ends[len(ends)-1].File); return p.Size() }
	for len(ends) == 0 || size() == DefaultSize {
		r, w := pair(0)
		ends = append(ends, r, w)
		if len(ends) > 2*softPages {
			t.Fatal("pipes do not get smaller")
		}
	}
	p, _, _ := Of(ends[0].File)
	if _, err := p.SetSize(MaxSize); err != unix.EPERM {
		t.Errorf("growing beyond the limit: %v", err)
	}
	for _, d := range ends {
		d.DecRef()
	}
	if got := pages.Load(); got != before {
		t.Errorf("%d pages are in use, there were %d", got, before)
	}
}

// TestConcurrent has writers' atomic records checked for tearing.
func TestConcurrent(t *testing.T) {
	r, w := pair(0)
	const records, size, writers = 500, 3000, 4
	wait := func(d *vfs.FileDescription, m waiter.Mask, try func() error) {
		ch := waiter.NewChannel()
		e := waiter.Entry{Mask: m | waiter.Always, Listener: ch}
		d.Register(&e)
		defer d.Unregister(&e)
		for try() == unix.EAGAIN {
			<-ch
		}
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			rec := bytes.Repeat([]byte{byte('a' + i)}, size)
			for range records {
				wait(w, waiter.Out, func() error { _, _, err := w.File.Write(nil, rec, 0, 0); return err })
			}
		})
	}
	go func() { wg.Wait(); w.DecRef() }()
	buf := make([]byte, size)
	total := 0
	for {
		fill := 0
		for fill < size {
			var n int
			wait(r, waiter.In, func() (err error) { n, err = r.File.Read(nil, buf[fill:], 0); return err })
			if n == 0 {
				break
			}
			fill += n
		}
		if fill == 0 {
			break
		}
		if bytes.Count(buf[:fill], buf[:1]) != size {
			t.Fatal("a record is torn")
		}
		total++
	}
	if total != records*writers {
		t.Errorf("%d records, want %d", total, records*writers)
	}
	r.DecRef()
}

func BenchmarkWriteRead1(b *testing.B) {
	r, w := pair(0)
	p := []byte{1}
	b.ReportAllocs()
	for b.Loop() {
		w.Write(nil, p)
		r.Read(nil, p)
	}
}
