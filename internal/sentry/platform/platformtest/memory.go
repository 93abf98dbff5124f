package platformtest

import (
	"bytes"
	"errors"
	"testing"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

func testReadOnlyFault(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovRDI, uint64(DataAddr), StoreRDI))
	defer g.Done()
	g.Ctx.Queue(platform.Op{Kind: platform.OpMprotect, Addr: DataAddr, Length: 0x1000, Prot: unix.PROT_READ})
	ev := g.Fault(unix.SIGSEGV)
	if ev.Code != 2 || ev.Addr != DataAddr || ev.ErrorCode&2 == 0 {
		t.Errorf("event %+v", ev)
	}
}

func testBusFault(t *testing.T, p platform.Platform) {
	fd, err := unix.MemfdCreate("t", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	g := NewGuest(t, p, Asm(MovRDI, uint64(DataAddr), LoadRDI))
	defer g.Done()
	g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: DataAddr, Length: 0x1000,
		Prot: unix.PROT_READ, Flags: unix.MAP_SHARED | unix.MAP_FIXED, FD: fd})
	unix.Close(fd)
	if ev := g.Fault(unix.SIGBUS); ev.Code != 2 || ev.Addr != DataAddr {
		t.Errorf("event %+v", ev)
	}
	var b [4]byte
	if _, err := g.Ctx.CopyIn(DataAddr, b[:]); err != unix.EFAULT {
		t.Errorf("CopyIn: %v", err)
	}
}

func testCompareAndSwap(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	for range 2 {
		g.Ctx.CopyOut(DataAddr, Asm(5))
		if v, err := g.Ctx.CompareAndSwap32(DataAddr, 4, 6); v != 5 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		if v, err := g.Ctx.CompareAndSwap32(DataAddr, 5, 6); v != 5 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		if v, err := g.Ctx.CompareAndSwap32(DataAddr, 0, 6); v != 6 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		for _, addr := range []uint64{0, DataAddr + 1, 0x12345678, p.Limits().Max, ^uint64(3)} {
			if _, err := g.Ctx.CompareAndSwap32(addr, 0, 6); err != unix.EFAULT {
				t.Errorf("%#x: %v", addr, err)
			}
		}
		g.Ctx.Regs().Rip = CodeAddr
		g.Syscall(60)
	}
}

func testCopy(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	g.Ctx.Queue(platform.Op{Kind: platform.OpMunmap, Addr: DataAddr + 0x2000, Length: 0x1000})
	data := make([]byte, 0x3000)
	for i := range data {
		data[i] = byte(i*7 + i>>8)
	}
	type copier interface {
		CopyIn(uint64, []byte) (int, error)
		CopyOut(uint64, []byte) (int, error)
	}
	for range 2 {
		for _, c := range []copier{g.Ctx, g.AS} {
			for _, tt := range []struct {
				off, n, want int
			}{
				{0, 0, 0}, {0, 1, 1}, {3, 64, 64}, {0, 0x2000, 0x2000}, {0xfff, 2, 2},
				{0x1fff, 2, 1}, {0x1ff0, 64, 16}, {0x100, 0x2000, 0x1f00}, {0x2000, 8, 0},
			} {
				n, err := c.CopyOut(DataAddr+uint64(tt.off), data[:tt.n])
				if n != tt.want || (err == unix.EFAULT) != (tt.want < tt.n) {
					t.Errorf("CopyOut %+v: %d, %v", tt, n, err)
				}
				got := make([]byte, tt.n)
				n, err = c.CopyIn(DataAddr+uint64(tt.off), got)
				if n != tt.want || (err == unix.EFAULT) != (tt.want < tt.n) {
					t.Errorf("CopyIn %+v: %d, %v", tt, n, err)
				}
				if !bytes.Equal(got[:n], data[:n]) {
					t.Errorf("CopyIn %+v: wrong bytes", tt)
				}
			}
		}
		g.Ctx.Regs().Rip = CodeAddr
		g.Syscall(60)
	}
}

// testCopyLimits: the stub's own memory is not the guest's.
func testCopyLimits(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	var b [64]byte
	for range 2 {
		for _, addr := range []uint64{p.Limits().Max, p.Limits().Max + 0x1000, p.Limits().Max + 512<<20, 1 << 63, ^uint64(0)} {
			for _, n := range []int{1, 64} {
				if n, err := g.Ctx.CopyIn(addr, b[:n]); n != 0 || err != unix.EFAULT {
					t.Errorf("CopyIn %#x: %d, %v", addr, n, err)
				}
				if n, err := g.Ctx.CopyOut(addr, b[:n]); n != 0 || err != unix.EFAULT {
					t.Errorf("CopyOut %#x: %d, %v", addr, n, err)
				}
			}
		}
		g.Syscall(60)
		g.Ctx.Regs().Rip = CodeAddr
	}
}

func testPoke(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	u, ok := g.AS.(platform.MappingUser)
	if !ok {
		t.Fatal("not a MappingUser")
	}
	g.Ctx.Queue(platform.Op{Kind: platform.OpMprotect, Addr: DataAddr, Length: 0x2000, Prot: unix.PROT_READ})
	g.Ctx.Flush()
	want := bytes.Repeat([]byte("poke"), 0x500)
	if _, err := g.AS.Poke(DataAddr, want); err != unix.EFAULT {
		t.Errorf("without mappings: %v", err)
	}
	u.SetMappings(func(addr uint64) (platform.Mapping, bool) {
		return platform.Mapping{Start: DataAddr, End: DataAddr + 0x2000, Prot: unix.PROT_READ, Private: true}, addr < DataAddr+0x2000
	})
	if n, err := g.AS.Poke(DataAddr, want); n != len(want) || err != nil {
		t.Errorf("Poke: %d, %v", n, err)
	}
	got := make([]byte, len(want))
	if _, err := g.AS.CopyIn(DataAddr, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("poked bytes are wrong (%v)", err)
	}
	if _, err := g.AS.CopyOut(DataAddr, want); err != unix.EFAULT {
		t.Errorf("the protection was not put back: %v", err)
	}
}

func testOps(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	const a = 0x10000000
	g.Map(a, 0x4000, unix.PROT_READ|unix.PROT_WRITE)
	g.Ctx.CopyOut(a, []byte("moved"))
	for _, op := range []platform.Op{
		{Kind: platform.OpMadvise, Addr: a, Length: 0x1000, Advice: unix.MADV_WILLNEED},
		{Kind: platform.OpMsync, Addr: a, Length: 0x1000, Flags: unix.MS_ASYNC},
		{Kind: platform.OpMlock, Addr: a, Length: 0x1000},
		{Kind: platform.OpMunlock, Addr: a, Length: 0x1000},
		{Kind: platform.OpMremap, Addr: a, Length: 0x4000, NewAddr: a + 0x10000, NewLength: 0x5000,
			Flags: unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED},
		{Kind: platform.OpMprotect, Addr: a + 0x10000, Length: 0x1000, Prot: unix.PROT_READ},
	} {
		g.Ctx.Queue(op)
	}
	if err := g.Ctx.Flush(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := g.Ctx.CopyIn(a, b); err != unix.EFAULT {
		t.Errorf("old place: %v", err)
	}
	if _, err := g.Ctx.CopyIn(a+0x10000, b); err != nil || string(b) != "moved" {
		t.Errorf("new place: %q, %v", b, err)
	}
	if _, err := g.Ctx.CopyOut(a+0x10000, b); err != unix.EFAULT {
		t.Errorf("read-only: %v", err)
	}
	if _, err := g.Ctx.CopyOut(a+0x14000, b); err != nil {
		t.Errorf("grown part: %v", err)
	}
}

func testOpsMany(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	fd, err := unix.MemfdCreate("t", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Ftruncate(fd, 0x1000)
	unix.Pwrite(fd, []byte("file"), 0)
	// More than a batch and more than the socket holds.
	const a, n = 0x10000000, 1000
	for _, same := range []bool{false, true} {
		g.Ctx.Queue(platform.Op{Kind: platform.OpMunmap, Addr: a, Length: n * 0x2000})
		for i := range uint64(n) {
			g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: a + i*0x2000, Length: 0x1000,
				Prot: unix.PROT_READ, Flags: unix.MAP_PRIVATE | unix.MAP_FIXED, FD: fd, SameFD: same})
		}
		g.Ctx.Regs().Rip = CodeAddr
		g.Syscall(60)
		for i := range uint64(n) {
			b := make([]byte, 4)
			if _, err := g.AS.CopyIn(a+i*0x2000, b); err != nil || string(b) != "file" {
				t.Fatalf("same %v, mapping %d: %q, %v", same, i, b, err)
			}
		}
	}
	// One of several that share a descriptor fails, and another descriptor does not share.
	const addr = 0x20000000
	m := platform.Op{Kind: platform.OpMmap, Addr: addr, Length: 0x1000, Prot: unix.PROT_READ,
		Flags: unix.MAP_PRIVATE | unix.MAP_FIXED, FD: fd, SameFD: true}
	bad, anonymous := m, m
	bad.Prot, bad.Flags = unix.PROT_WRITE, unix.MAP_FIXED
	anonymous.Addr, anonymous.Flags, anonymous.FD = addr+0x1000, m.Flags|unix.MAP_ANONYMOUS, -1
	for _, o := range []platform.Op{m, bad, anonymous} {
		g.Ctx.Queue(o)
	}
	var failed *platform.OpError
	if err := g.Ctx.Flush(); !errors.As(err, &failed) || failed.Op != bad || failed.Errno != unix.EINVAL || failed.Next != nil {
		t.Errorf("Flush: %v, %+v", err, failed)
	}
	for at, want := range map[uint64]string{addr: "file", addr + 0x1000: "\x00\x00\x00\x00"} {
		b := make([]byte, 4)
		if _, err := g.AS.CopyIn(at, b); err != nil || string(b) != want {
			t.Errorf("%#x: %q, %v", at, b, err)
		}
	}
}

func testOpFailed(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	bad := platform.Op{Kind: platform.OpMprotect, Addr: 0x70000000, Length: 0x1000, Prot: unix.PROT_READ}
	g.Ctx.Queue(bad)
	g.Ctx.Queue(platform.Op{Kind: platform.OpMprotect, Addr: 0x70000001, Length: 0x1000})
	ev := g.Ctx.Switch()
	var oe *platform.OpError
	if ev.Kind != platform.EventOpFailed || !errors.As(ev.Err, &oe) || oe.Op != bad || oe.Errno != unix.ENOMEM {
		t.Fatalf("event %+v", ev)
	}
	if g.Ctx.Regs().Rip != CodeAddr {
		t.Errorf("guest code ran")
	}
	g.Ctx.Queue(bad)
	if err := g.Ctx.Flush(); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("Flush: %v", err)
	}
	g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: DataAddr, Length: 0x1000, FD: 99999})
	if err := g.Ctx.Flush(); !errors.Is(err, unix.EBADF) {
		t.Errorf("Flush: %v", err)
	}
	g.Syscall(60)
}

func testMapFile(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovRDI, uint64(DataAddr), "\x48\xc7\x07", 0x21646f67, exit60)) // movq $"god!",(%rdi)
	defer g.Done()
	fd, err := unix.MemfdCreate("t", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Ftruncate(fd, 0x2000)
	g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: DataAddr, Length: 0x1000, Offset: 0x1000,
		Prot: unix.PROT_READ | unix.PROT_WRITE, Flags: unix.MAP_SHARED | unix.MAP_FIXED, FD: fd})
	g.Syscall(60)
	b := make([]byte, 4)
	unix.Pread(fd, b, 0x1000)
	if string(b) != "god!" {
		t.Errorf("file: %q", b)
	}
	// The stub keeps no descriptor: the file goes when it is unmapped.
	g.Ctx.Queue(platform.Op{Kind: platform.OpMunmap, Addr: DataAddr, Length: 0x1000})
	if err := g.Ctx.Flush(); err != nil {
		t.Error(err)
	}
}

// testResident: pages that were touched are in memory, others are not, and
// what is queued counts.
func testResident(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	host, ok := g.Ctx.(platform.Residency)
	if !ok {
		t.Skip("the platform cannot tell")
	}
	const addr, pages = 0x10000000, 9000
	for range 2 {
		g.Map(addr, pages*0x1000, unix.PROT_READ|unix.PROT_WRITE)
		g.Ctx.Queue(platform.Op{Kind: platform.OpMadvise, Addr: addr, Length: pages * 0x1000, Advice: unix.MADV_NOHUGEPAGE})
		touched := map[int]bool{1: true, 4096: true, 8999: true}
		for i := range touched {
			if _, err := g.Ctx.CopyOut(addr+uint64(i)*0x1000, []byte{1}); err != nil {
				t.Fatal(err)
			}
		}
		vec := bytes.Repeat([]byte{7}, pages)
		if err := host.Resident(addr, vec); err != nil {
			t.Fatal(err)
		}
		for i, b := range vec {
			if (b == 1) != touched[i] || b > 1 {
				t.Errorf("page %d: %d", i, b)
			}
		}
		g.Ctx.Regs().Rip = CodeAddr
		g.Syscall(60)
	}
	for _, bad := range []uint64{addr + 1, addr + (pages-1)*0x1000, 0x12345000, p.Limits().Max, ^uint64(0xfff)} {
		if err := host.Resident(bad, make([]byte, 2)); err == nil {
			t.Errorf("%#x: no error", bad)
		}
	}
}
