package trap

import (
	"maps"
	"slices"
	"sync"
	"time"

	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/stub"
	"coffer/internal/sentry/platform/trap/rewrite"

	"golang.org/x/sys/unix"
)

// A program that runs for a millisecond makes all its calls by signals: its sites
// are not hot yet when it ends. But the next one runs the same libraries. So what
// trapped is remembered by file, and once that was often enough there is an
// image: a sealed memfd with the file's code, those sites rewritten, and their
// trampolines behind it. Mapped in place of the file it costs the next program
// nothing, neither signals nor copies of pages.
//
// Who traps may be hostile, and the image is others' code too. So of him only the
// place and the number of the call are taken; the code is the file's, and the
// place must be an instruction of it, beyond doubt (rewrite.Site.Hearsay): what
// he says must not change data of others that lie among code.
//
// A process may see a file as it was when it was mapped (mmap(2): whether later
// changes show is unspecified), but must not see one that is older. So only files
// have images whose file system notes the time of each change, and a change makes
// it another text.

const (
	// textMax is the longest code that has an image; imagesMax bounds what all
	// images take, and textsMax the texts that are known.
	textMax   = 8 << 20
	imagesMax = 32 << 20
	textsMax  = 64
	// sitesMax bounds a text's calls, cpuidsMax its CPUIDs, and mappedMax the mappings of texts
	// that an address space knows of.
	sitesMax  = 1 << 10
	cpuidsMax = 1 << 8
	mappedMax = 1 << 10
	// imageAge is how long ago a file must have been changed last, so that its
	// next change has another time.
	imageAge = 2 * time.Second
	// textBase is where images are planned.
	textBase = 1 << 40
)

// texts are the texts that are known.
type texts struct {
	stubs *stub.Stubs
	// keepsTimes reports whether the file system of a descriptor notes the time
	// of each change.
	keepsTimes func(fd int) bool
	age        time.Duration // imageAge
	max        uint64        // imagesMax
	// leaves are those of CPUID that images hold.
	leaves func() map[uint32]rewrite.Registers

	mu    sync.Mutex
	known map[textKey]*text
	bytes uint64 // of images
	maps  uint64 // counts mappings of texts
}

func newTexts(s *stub.Stubs) *texts {
	return &texts{stubs: s, keepsTimes: keepsTimes, age: imageAge, max: imagesMax, leaves: sync.OnceValue(constantLeaves), known: make(map[textKey]*text)}
}

// textKey is what makes a text: a part of a file in one state.
type textKey struct {
	dev, ino     uint64
	offset, size uint64
	length       int64 // of the file
	mtime, ctime unix.Timespec
}

// keyOf makes the key of what o maps. It reports false if that is not a file
// that there is more of than its code.
func keyOf(o *platform.Op) (textKey, bool) {
	var st unix.Stat_t
	if unix.Fstat(o.FD, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size < 0 ||
		o.Offset+o.Length > (uint64(st.Size)+stub.PageSize-1)&^(stub.PageSize-1) {
		return textKey{}, false
	}
	return textKey{uint64(st.Dev), st.Ino, o.Offset, o.Length, st.Size, st.Mtim, st.Ctim}, true
}

// keepsTimes is texts.keepsTimes. Files in memory are not among them: their
// times say nothing of what is written by way of a mapping.
func keepsTimes(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC,
		unix.OVERLAYFS_SUPER_MAGIC, unix.SQUASHFS_MAGIC, unix.EROFS_SUPER_MAGIC_V1:
		return true
	}
	return false
}

// text is code that programs map.
//
// Lock order: texts.mu, text.mu, space.mu.
type text struct {
	of   *texts
	key  textKey
	size uint64
	used uint64 // texts.maps when it was mapped last; texts.mu guards it

	// mu is held for reading while the image's descriptor is in use.
	mu    sync.RWMutex
	image *image
	// calls are the numbers of the calls that trapped, by their offset.
	calls map[uint64]uint64
	// planned are those that the last image was planned for; missed counts traps
	// of others, and due is when it pays to make a new image.
	planned     map[uint64]uint64
	missed, due int
}

// image is a text with its calls and CPUIDs rewritten, as if at textBase. The trampolines
// are room bytes behind it, and are mapped below the file's beginning.
type image struct {
	fd            int
	room          uint64
	sites, byAddr []*site
}

// at returns the text that o maps, or nil if it can have no image.
func (x *texts) at(o *platform.Op) *text {
	if o.Length > textMax || o.Offset > textBase/2 || x.stubs.Entry() == 0 {
		return nil
	}
	key, ok := keyOf(o)
	if !ok {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.maps++
	if t := x.known[key]; t != nil {
		t.used = x.maps
		return t
	}
	if !x.keepsTimes(o.FD) {
		return nil
	}
	if len(x.known) >= textsMax {
		t := x.leastUsed(func(*text) bool { return true })
		delete(x.known, t.key)
		x.bytes -= t.replace(nil)
	}
	t := &text{of: x, key: key, size: o.Length, used: x.maps, calls: make(map[uint64]uint64), due: 16 + int(o.Length/stub.PageSize/8)}
	x.known[key] = t
	return t
}

// leastUsed returns the text that was mapped the longest ago among those that are
// good for it, or nil. mu is held.
func (x *texts) leastUsed(good func(*text) bool) (least *text) {
	for _, t := range x.known {
		if (least == nil || t.used < least.used) && good(t) {
			least = t
		}
	}
	return least
}

// makeRoom gives up images until another one of n bytes may be kept, those first
// that were mapped the longest ago. It reports whether it may. mu is held.
func (x *texts) makeRoom(n uint64) bool {
	for x.bytes+n > x.max {
		t := x.leastUsed((*text).hasImage)
		if t == nil {
			return false
		}
		x.bytes -= t.giveUp()
	}
	return true
}

func (t *text) hasImage() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.image != nil
}

// giveUp drops the image, and returns how many bytes it took. There may be another
// once the text has been learned anew.
func (t *text) giveUp() uint64 {
	n := t.replace(nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.planned, t.missed = nil, 0
	return n
}

// replace gives the text another image, and returns how many bytes the former
// took.
func (t *text) replace(im *image) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.image
	t.image = im
	if old == nil {
		return 0
	}
	unix.Close(old.fd)
	return t.size + old.room
}

// learn notes a call at offset that trapped.
func (t *text) learn(offset, nr uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.planned[offset]; ok {
		return
	}
	if _, ok := t.calls[offset]; !ok && len(t.calls) >= sitesMax {
		return
	}
	t.calls[offset] = nr
	t.missed++
}

// refresh makes a new image if that pays; o is what is about to be mapped.
func (t *text) refresh(o *platform.Op) {
	t.mu.Lock()
	if t.missed < t.due {
		t.mu.Unlock()
		return
	}
	t.missed, t.due = 0, 2*t.due
	t.planned = maps.Clone(t.calls)
	calls := t.planned
	t.mu.Unlock()

	im := t.of.makeImage(o, calls)
	if im == nil {
		t.mu.Lock()
		t.planned = nil // it may be later that it can be made
		t.mu.Unlock()
		return
	}
	x := t.of
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.known[t.key] != t {
		unix.Close(im.fd)
		return
	}
	x.bytes -= t.replace(nil)
	if !x.makeRoom(t.size + im.room) {
		unix.Close(im.fd)
		return
	}
	x.bytes += t.size + im.room
	t.replace(im)
}

// makeImage makes an image of what o maps, or returns nil.
func (x *texts) makeImage(o *platform.Op, calls map[uint64]uint64) *image {
	key, ok := keyOf(o)
	if !ok || max(key.mtime.Nano(), key.ctime.Nano()) > time.Now().Add(-x.age).UnixNano() {
		return nil
	}
	code := make([]byte, o.Length)
	for n := 0; n < len(code); {
		k, err := unix.Pread(o.FD, code[n:], int64(o.Offset)+int64(n))
		if err != nil {
			return nil
		}
		if k == 0 {
			break
		}
		n += k
	}
	if now, ok := keyOf(o); !ok || now != key {
		return nil
	}
	im, trampolines := x.plan(code, o.Offset, calls)
	if len(im.sites) == 0 {
		return nil
	}
	for _, st := range im.sites {
		copy(code[st.Addr-textBase:], st.New)
	}
	var err error
	if im.fd, err = unix.MemfdCreate("coffer-text", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING); err != nil {
		return nil
	}
	// A guest that gets hold of the descriptor in its stub must not change what
	// others run.
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if !writeAll(im.fd, append(code, trampolines...)) || !sealed(im.fd, seals) || !x.stubs.CanMapCode(im.fd) {
		unix.Close(im.fd)
		return nil
	}
	return im
}

// plan rewrites what calls and CPUIDs it can, and returns the trampolines.
func (x *texts) plan(code []byte, offset uint64, calls map[uint64]uint64) (*image, []byte) {
	leaves := x.leaves()
	cpuids := rewrite.CPUIDs(code, leaves, cpuidsMax)
	places := slices.Sorted(maps.Keys(calls))
	places = slices.AppendSeq(places, maps.Keys(cpuids))
	slices.Sort(places)
	room := (uint64(len(places))*rewrite.Size + stub.PageSize - 1) &^ (stub.PageSize - 1)
	im := &image{room: room}
	trampolines := make([]byte, room)
	for _, at := range places {
		if at+2 > uint64(len(code)) {
			continue
		}
		from, to := at-min(at, rewrite.Before), min(at+rewrite.After, uint64(len(code)))
		next := uint64(len(im.sites)) * rewrite.Size
		s := rewrite.Site{
			Code: code[from:to], Base: textBase + from, Addr: textBase + at, RAX: calls[at], Hearsay: true,
			Trampoline: textBase - offset - room + next, Entry: x.stubs.Entry(),
		}
		st := &site{call: s.Addr}
		var ok bool
		if leaf, cpuid := cpuids[at]; cpuid {
			if st.Patch, ok = rewrite.PlanCPUID(s, leaves[leaf]); ok {
				st.call = st.Call
			}
		} else {
			st.Patch, ok = rewrite.Plan(s)
		}
		if !ok || !onePage(st.Patch) {
			continue
		}
		if n := len(im.sites); n > 0 && im.sites[n-1].end() > st.Addr {
			continue // plans are of the original code
		}
		copy(trampolines[next:], st.Trampoline)
		im.sites = append(im.sites, st)
	}
	im.byAddr = im.sites
	return im, trampolines
}

// end is where the code ends that the rewriting relies on.
func (st *site) end() uint64 { return max(st.Addr+uint64(len(st.Old)), st.call+2) }

// onePage reports whether what a patch changes is in one page.
func onePage(p *rewrite.Patch) bool {
	return p.Addr/stub.PageSize == (p.Addr+uint64(len(p.Old))-1)/stub.PageSize
}

func writeAll(fd int, b []byte) bool {
	for off := 0; off < len(b); {
		n, err := unix.Pwrite(fd, b[off:], int64(off))
		if err != nil || n == 0 {
			return false
		}
		off += n
	}
	return true
}

func sealed(fd, seals int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	return err == nil
}

// QueueText implements platform.TextMapper.
func (c *context) QueueText(o platform.Op, reserve func(addr, size uint64) bool) {
	t := c.texts.at(&o)
	if t == nil {
		c.Queue(o)
		return
	}
	t.refresh(&o)
	t.mu.RLock()
	defer t.mu.RUnlock()
	c.space.mapText(t, &o, reserve)
	c.Queue(o)
}

// mapText makes of o what maps the text's image, if it has one, and has the space
// learn from the text. t.mu is held.
func (s *space) mapText(t *text, o *platform.Op, reserve func(addr, size uint64) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.texts) >= mappedMax {
		return
	}
	s.texts = append(s.texts, mappedText{t, o.Addr})
	im := t.image
	if im == nil || s.off || o.Addr < o.Offset+im.room {
		return
	}
	start := o.Addr - o.Offset - im.room
	var arenas []arena
	if tab := s.table.Load(); tab != nil {
		arenas = tab.arenas
	}
	for i := range arenas {
		if a := &arenas[i]; a.image == im && a.start == start {
			// It was mapped before, at the same place.
			next := &table{arenas: slices.Clone(arenas)}
			next.arenas[i].dead = nil
			s.table.Store(next)
			o.FD, o.Offset, o.SameFD = im.fd, 0, false
			return
		}
	}
	if len(arenas) >= arenasMax || !reserve(start, im.room) {
		return
	}
	s.addArena(arena{start: start, size: im.room, bias: o.Addr - textBase, sites: im.sites, byAddr: im.byAddr, image: im})
	// The number of an image's descriptor says nothing: the one before may have
	// been of an image that is no more.
	o.FD, o.Offset, o.SameFD = im.fd, 0, false
	o.Code = platform.Code{Addr: start, Length: im.room, Offset: t.size}
}
