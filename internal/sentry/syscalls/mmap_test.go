package syscalls

import (
	"encoding/binary"
	"testing"

	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

const (
	readWrite = unix.PROT_READ | unix.PROT_WRITE
	anonymous = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	noFD      = ^uint64(0)
)

func TestMmapFiles(t *testing.T) {
	p := newProcess(t)
	rd, wr := p.open("/f", unix.O_CREAT|unix.O_RDWR), p.open("/f", unix.O_WRONLY)
	if n, err := p.call(sysMmap, 0, mm.PageSize, unix.PROT_READ, unix.MAP_SHARED, uint64(rd), 0); err != nil || n == 0 {
		t.Errorf("a file: %#x, %v", n, err)
	}
	ro := p.open("/f", unix.O_RDONLY)
	path := p.open("/f", unix.O_PATH)
	dir := p.open("/", unix.O_RDONLY)
	pr, _ := p.pipe(0)
	page := uint64(mm.PageSize)
	for _, c := range []struct {
		what           string
		prot, flags    uint64
		fd             int32
		length, offset uint64
		want           error
	}{
		{"write-only", unix.PROT_READ, unix.MAP_PRIVATE, wr, page, 0, unix.EACCES},
		{"write to read-only", readWrite, unix.MAP_SHARED, ro, page, 0, unix.EACCES},
		{"O_PATH", unix.PROT_READ, unix.MAP_PRIVATE, path, page, 0, unix.EBADF},
		{"directory", unix.PROT_READ, unix.MAP_PRIVATE, dir, page, 0, unix.ENODEV},
		{"pipe", unix.PROT_READ, unix.MAP_PRIVATE, pr, page, 0, unix.ENODEV},
		{"not open", unix.PROT_READ, unix.MAP_PRIVATE, 999, page, 0, unix.EBADF},
		{"offset within a page", unix.PROT_READ, unix.MAP_PRIVATE, rd, page, 1, unix.EINVAL},
		{"offset too large", unix.PROT_READ, unix.MAP_SHARED, rd, page, minus(-4096), unix.EOVERFLOW},
		{"stack of a file", unix.PROT_READ, unix.MAP_PRIVATE | unix.MAP_GROWSDOWN, rd, page, 0, unix.EINVAL},
		{"synchronous", unix.PROT_READ, unix.MAP_SHARED_VALIDATE | unix.MAP_SYNC, rd, page, 0, unix.EOPNOTSUPP},
	} {
		p.want(c.what, 0, c.want, sysMmap, 0, c.length, c.prot, c.flags, uint64(c.fd), c.offset)
	}
	// A mapping of what was opened read-only never becomes writable.
	a, err := p.call(sysMmap, 0, page, unix.PROT_READ, unix.MAP_SHARED, uint64(ro), 0)
	if err != nil {
		t.Fatal(err)
	}
	p.want("mprotect of it", 0, unix.EACCES, sysMprotect, uint64(a), page, readWrite)
	p.want("remap_file_pages", 0, nil, sysRemapFilePages, uint64(a), page, 0, 3, 0)
	r, _ := p.MM().RegionAt(uint64(a))
	mm.ReleaseRegions([]mm.Region{r})
	if r.Offset != 3*page {
		t.Errorf("after remap_file_pages the offset is %#x", r.Offset)
	}
	p.want("remap_file_pages of private memory", 0, unix.EINVAL, sysRemapFilePages, memBase, page, 0, 0, 0)
}

func TestMincore(t *testing.T) {
	p := newProcess(t)
	vec := uint64(memBase)
	p.put(vec, []byte{7, 7, 7, 7})
	p.put(memBase+2*mm.PageSize, []byte{7})
	p.want("mapped", 0, nil, sysMincore, memBase, 2*mm.PageSize+1, vec)
	if got := p.get(vec, 4); string(got) != "\x01\x00\x01\x07" {
		t.Errorf("mincore says %v", got)
	}
	p.want("nothing", 0, nil, sysMincore, memBase, 0, vec)
	p.want("unaligned", 0, unix.EINVAL, sysMincore, memBase+1, mm.PageSize, vec)
	p.put(vec, []byte{7, 7})
	p.want("hole", 0, unix.ENOMEM, sysMincore, readOnly, 2*mm.PageSize, vec)
	if got := p.get(vec, 2); string(got) != "\x00\x07" {
		t.Errorf("before a hole mincore says %v", got)
	}
	p.want("vector beyond user space", 0, unix.EFAULT, sysMincore, nowhere, mm.PageSize, ^uint64(0))
	p.want("huge", 0, unix.ENOMEM, sysMincore, memBase, ^uint64(0), vec)
	p.want("bad vector", 0, unix.EFAULT, sysMincore, memBase, mm.PageSize, nowhere)
}

func TestMemoryWithoutHardware(t *testing.T) {
	p := newProcess(t)
	p.want("key -1", 0, nil, sysPkeyMprotect, memBase, mm.PageSize, readWrite, minus(-1))
	p.want("key 1", 0, unix.EINVAL, sysPkeyMprotect, memBase, mm.PageSize, readWrite, 1)
	p.want("no keys", 0, unix.ENOSPC, sysPkeyAlloc, 0, 0)
	p.want("key flags", 0, unix.EINVAL, sysPkeyAlloc, 1, 0)
	p.want("free", 0, unix.EINVAL, sysPkeyFree, 1)
}

func TestMempolicy(t *testing.T) {
	p := newProcess(t)
	const bind = policyBind
	mask := func(n uint64) uint64 {
		p.put(memBase, binary.LittleEndian.AppendUint64(nil, n))
		return memBase
	}
	p.want("default", 0, nil, sysSetMempolicy, policyDefault, 0, 0)
	p.want("node 0", 0, nil, sysSetMempolicy, bind, mask(1), 64)
	p.want("node 1", 0, unix.EINVAL, sysSetMempolicy, bind, mask(2), 64)
	p.want("no node", 0, unix.EINVAL, sysSetMempolicy, bind, mask(0), 64)
	p.want("default with nodes", 0, unix.EINVAL, sysSetMempolicy, policyDefault, mask(1), 64)
	p.want("huge mask", 0, unix.EINVAL, sysSetMempolicy, bind, mask(1), 1<<40)
	p.want("bad mask", 0, unix.EFAULT, sysSetMempolicy, bind, nowhere, 64)
	p.want("mbind", 0, nil, sysMbind, memBase, mm.PageSize, bind, mask(1), 64, 0)
	p.want("mbind over a hole", 0, unix.EFAULT, sysMbind, readOnly, 2*mm.PageSize, bind, mask(1), 64, 0)
	p.want("allowed nodes", 0, nil, sysGetMempolicy, 0, memBase, 64, 0, 4)
	if got := p.get(memBase, 8); got[0] != 1 {
		t.Errorf("allowed nodes are %v", got)
	}
	p.want("short mask", 0, unix.EINVAL, sysGetMempolicy, 0, memBase, 0, 0, 4)
}

func TestMembarrier(t *testing.T) {
	p := newProcess(t)
	p.want("query", barrierCommands, nil, sysMembarrier, barrierQuery)
	p.want("not registered", 0, unix.EPERM, sysMembarrier, barrierPrivate)
	p.want("register", 0, nil, sysMembarrier, barrierRegisterPrivate)
	p.want("registered", 0, nil, sysMembarrier, barrierPrivate)
	p.want("other not registered", 0, unix.EPERM, sysMembarrier, barrierPrivateSyncCore)
	p.want("flags", 0, unix.EINVAL, sysMembarrier, barrierPrivate, 1)
	p.want("two commands", 0, unix.EINVAL, sysMembarrier, barrierPrivate|barrierGlobal)
}

func TestProcessVM(t *testing.T) {
	p := newProcess(t)
	me := uint64(p.PID())
	iov := func(at uint64, spans ...uint64) uint64 {
		var b []byte
		for _, n := range spans {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		p.put(at, b)
		return at
	}
	const data, local, remote = memBase + 0x10000, memBase, memBase + 0x1000
	p.put(data, []byte("hello world"))
	iov(local, data+100, 3, data+200, 0, data+300, 8)
	iov(remote, data, 5, data+6, 5)
	p.want("read", 10, nil, sysProcessVMReadv, me, local, 3, remote, 2, 0)
	if a, b := p.get(data+100, 3), p.get(data+300, 7); string(a) != "hel" || string(b) != "loworld" {
		t.Errorf("got %q and %q", a, b)
	}
	iov(remote, data, 5, nowhere, 5)
	p.want("up to a bad address", 5, nil, sysProcessVMReadv, me, local, 3, remote, 2, 0)
	iov(remote, nowhere, 5)
	p.want("bad address", 0, unix.EFAULT, sysProcessVMReadv, me, local, 1, remote, 1, 0)
	iov(remote, readOnly, 3)
	p.want("write to read-only memory", 0, unix.EFAULT, sysProcessVMWritev, me, local, 1, remote, 1, 0)
	p.want("no such process", 0, unix.ESRCH, sysProcessVMReadv, 4000, local, 1, remote, 1, 0)
	p.want("too many", 0, unix.EINVAL, sysProcessVMReadv, me, local, 1025, remote, 1, 0)
	p.want("flags", 0, unix.EINVAL, sysProcessVMReadv, me, local, 1, remote, 1, 1)
	iov(remote, data, 1<<63)
	p.want("negative length", 0, unix.EINVAL, sysProcessVMReadv, me, local, 1, remote, 1, 0)
}

func TestPrctlMemory(t *testing.T) {
	p := newProcess(t)
	p.put(memBase, []byte("stack of t1\x00bad[\x00"))
	p.want("name", 0, nil, prSetVMA, 0, unix.PR_SET_VMA_ANON_NAME, memBase, mm.PageSize, memBase)
	r, _ := p.MM().RegionAt(memBase)
	if r.Name != "[anon:stack of t1]" {
		t.Errorf("the name is %q", r.Name)
	}
	p.want("bad name", 0, unix.EINVAL, prSetVMA, 0, unix.PR_SET_VMA_ANON_NAME, memBase, mm.PageSize, memBase+12)
	p.want("argument start", 0, unix.EINVAL, prSetMM, 0, unix.PR_SET_MM_ARG_START, nowhere+0x100000, 0, 0)
	p.want("unknown field", 0, unix.EINVAL, prSetMM, 0, 99, memBase, 0, 0)
	p.want("auxv too long", 0, unix.EINVAL, prSetMM, 0, unix.PR_SET_MM_AUXV, memBase, 1<<20, 0)
}

func FuzzMmap(f *testing.F) {
	f.Add(uint64(0), uint64(4096), uint64(3), uint64(anonymous), uint64(0), uint64(0))
	f.Add(uint64(memBase), uint64(1<<20), uint64(0), uint64(anonymous|unix.MAP_FIXED), ^uint64(0), uint64(1))
	p := newProcess(f)
	f.Fuzz(func(t *testing.T, addr, length, prot, flags, extra, which uint64) {
		// The fake holds every page: keep what can succeed small.
		length %= 1 << 22
		switch which % 6 {
		case 0:
			p.call(sysMmap, addr, length, prot, flags, noFD, extra)
		case 1:
			p.call(sysMunmap, addr, length)
		case 2:
			p.call(sysMprotect, addr, length, prot)
		case 3:
			p.call(sysMremap, addr, length, extra%(1<<22), flags, extra)
		case 4:
			p.call(sysMadvise, addr, length, prot)
		case 5:
			p.call(sysBrk, addr%(1<<30))
		}
		p.Context().Flush()
		var end uint64
		rs := p.MM().Regions()
		for _, r := range rs {
			if r.Start < end || r.End <= r.Start || r.Start&mm.PageMask != 0 || r.End > p.MM().PlatformLimits().Max {
				t.Fatalf("mapping %#x-%#x after %#x", r.Start, r.End, end)
			}
			end = r.End
		}
		mm.ReleaseRegions(rs)
	})
}
