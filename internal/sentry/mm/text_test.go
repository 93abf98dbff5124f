package mm_test

import (
	"testing"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/mm/mmtest"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const (
	textFD  = 1000
	imageFD = 1001
)

// textFile is a file that can be mapped.
type textFile struct{ vfs.NoFile }

func (textFile) MapFD() (int, error) { return textFD, nil }

// textContext maps an image in place of each text.
type textContext struct{ *mmtest.Context }

func (c textContext) QueueText(o platform.Op, reserve func(addr, size uint64) bool) {
	o.FD, o.Offset = imageFD, 0
	c.Queue(o)
}

// TestText: pages of a program's code that come from the file anew are the file's,
// not those of an image that the platform has mapped.
func TestText(t *testing.T) {
	const base = 0x10000000
	type mapping struct {
		addr, length, offset uint64
	}
	for _, tt := range []struct {
		name string
		do   func(m *mm.MemoryManager, ctx platform.Context) error
		want mapping
	}{
		{"dropped", func(m *mm.MemoryManager, ctx platform.Context) error {
			return m.Madvise(ctx, base+page, page, unix.MADV_DONTNEED)
		}, mapping{base + page, page, 6 * page}},
		{"dropped once it is not executable", func(m *mm.MemoryManager, ctx platform.Context) error {
			if err := m.MProtect(ctx, base, 2*page, rw); err != nil {
				return err
			}
			return m.Madvise(ctx, base, 2*page, unix.MADV_DONTNEED)
		}, mapping{base, 2 * page, 5 * page}},
		{"grown", func(m *mm.MemoryManager, ctx platform.Context) error {
			_, err := m.MRemap(ctx, mm.MRemapArgs{Addr: base, Length: 2 * page, NewLength: 4 * page})
			return err
		}, mapping{base + 2*page, 2 * page, 7 * page}},
		{"moved and grown", func(m *mm.MemoryManager, ctx platform.Context) error {
			_, err := m.MRemap(ctx, mm.MRemapArgs{Addr: base, Length: 2 * page, NewLength: 3 * page, NewAddr: base + 16*page,
				Flags: unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED})
			return err
		}, mapping{base + 18*page, page, 7 * page}},
		{"left behind", func(m *mm.MemoryManager, ctx platform.Context) error {
			_, err := m.MRemap(ctx, mm.MRemapArgs{Addr: base, Length: 2 * page, NewLength: 2 * page, NewAddr: base + 16*page,
				Flags: unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED | unix.MREMAP_DONTUNMAP})
			return err
		}, mapping{base, 2 * page, 5 * page}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, fake := newMM(nil)
			ctx := textContext{fake}
			f := vfs.NewDescription(textFile{}, nil, vfs.Path{}, unix.O_RDONLY)
			defer f.DecRef()
			if _, err := m.MMap(ctx, mm.MMapArgs{Addr: base, Length: 2 * page, Prot: rx, Flags: unix.MAP_PRIVATE | unix.MAP_FIXED,
				File: f, Offset: 5 * page, Executable: true}); err != nil {
				t.Fatal(err)
			}
			ctx.Flush()
			fake.Space.Ops = nil
			if err := tt.do(m, ctx); err != nil {
				t.Fatal(err)
			}
			ctx.Flush()
			var got []mapping
			for _, op := range fake.Space.Ops {
				switch {
				case op.Kind == platform.OpMadvise:
					t.Errorf("the host was told %+v", op)
				case op.Kind == platform.OpMmap && op.FD == textFD:
					got = append(got, mapping{op.Addr, op.Length, op.Offset})
				}
			}
			if len(got) != 1 || got[0] != tt.want {
				t.Errorf("mapped %#x, want %#x", got, tt.want)
			}
		})
	}
}
