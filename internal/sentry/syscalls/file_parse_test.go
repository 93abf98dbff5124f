package syscalls

import (
	"encoding/binary"
	"math"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func flockBytes(typ, whence int16, start, length int64) []byte {
	b := make([]byte, flockSize)
	binary.LittleEndian.PutUint16(b, uint16(typ))
	binary.LittleEndian.PutUint16(b[2:], uint16(whence))
	binary.LittleEndian.PutUint64(b[8:], uint64(start))
	binary.LittleEndian.PutUint64(b[16:], uint64(length))
	return b
}

// flockBase is a file of 100 bytes at offset 10.
func flockBase(whence int16) (int64, error) {
	switch whence {
	case unix.SEEK_SET:
		return 0, nil
	case unix.SEEK_CUR:
		return 10, nil
	case unix.SEEK_END:
		return 100, nil
	}
	return 0, unix.EINVAL
}

func TestParseFlock(t *testing.T) {
	const most = math.MaxInt64
	for _, tt := range []struct {
		typ, whence   int16
		start, length int64
		from, to      int64
		err           error
	}{
		{unix.F_RDLCK, unix.SEEK_SET, 0, 0, 0, most, nil},
		{unix.F_WRLCK, unix.SEEK_SET, 5, 10, 5, 14, nil},
		{unix.F_UNLCK, unix.SEEK_CUR, 5, 1, 15, 15, nil},
		{unix.F_WRLCK, unix.SEEK_END, -100, 1, 0, 0, nil},
		{unix.F_WRLCK, unix.SEEK_END, 0, -10, 90, 99, nil},
		{unix.F_WRLCK, unix.SEEK_SET, most, 1, most, most, nil},
		{unix.F_WRLCK, unix.SEEK_SET, most, 2, 0, 0, unix.EOVERFLOW},
		{unix.F_WRLCK, unix.SEEK_CUR, most, 1, 0, 0, unix.EOVERFLOW},
		{unix.F_WRLCK, unix.SEEK_SET, -1, 0, 0, 0, unix.EINVAL},
		{unix.F_WRLCK, unix.SEEK_END, -101, 0, 0, 0, unix.EINVAL},
		{unix.F_WRLCK, unix.SEEK_SET, 5, -6, 0, 0, unix.EINVAL},
		{unix.F_WRLCK, unix.SEEK_SET, 5, math.MinInt64, 0, 0, unix.EINVAL},
		{unix.F_WRLCK, 9, 0, 0, 0, 0, unix.EINVAL},
		{9, unix.SEEK_SET, 0, 0, 0, 0, unix.EINVAL},
	} {
		r, err := parseFlock(flockBytes(tt.typ, tt.whence, tt.start, tt.length), flockBase)
		if err != tt.err || err == nil && (r.Start != tt.from || r.End != tt.to) {
			t.Errorf("%+v: %+v, %v", tt, r, err)
		}
		if err != nil {
			continue
		}
		// What F_GETLK answers says the same.
		b := make([]byte, flockSize)
		putFlock(b, r)
		if again, err := parseFlock(b, flockBase); err != nil || again != r {
			t.Errorf("%+v was written as %+v (%v)", r, again, err)
		}
	}
}

func FuzzFlock(f *testing.F) {
	f.Add(flockBytes(unix.F_WRLCK, unix.SEEK_END, -5, -5))
	f.Add(flockBytes(unix.F_RDLCK, unix.SEEK_CUR, math.MaxInt64, math.MinInt64))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < flockSize {
			return
		}
		if r, err := parseFlock(b, flockBase); err == nil && (r.Start < 0 || r.End < r.Start) {
			t.Errorf("%+v", r)
		}
	})
}

func openHowBytes(flags, mode, resolve uint64, rest ...byte) []byte {
	b := make([]byte, openHowSize, openHowSize+len(rest))
	binary.LittleEndian.PutUint64(b, flags)
	binary.LittleEndian.PutUint64(b[8:], mode)
	binary.LittleEndian.PutUint64(b[16:], resolve)
	return append(b, rest...)
}

func TestParseOpenHow(t *testing.T) {
	for _, tt := range []struct {
		b   []byte
		err error
	}{
		{openHowBytes(0, 0, 0), nil},
		{openHowBytes(0, 0, 0, 0, 0, 0), nil},
		{openHowBytes(0, 0, 0, 0, 1), unix.E2BIG},
		{openHowBytes(unix.O_CREAT|unix.O_RDWR, 0o644, unix.RESOLVE_BENEATH), nil},
		{openHowBytes(0, 0o644, 0), unix.EINVAL},
		{openHowBytes(unix.O_CREAT, 0o10000, 0), unix.EINVAL},
		{openHowBytes(1<<40, 0, 0), unix.EINVAL},
		{openHowBytes(0, 0, 1<<20), unix.EINVAL},
		{openHowBytes(0, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT), unix.EINVAL},
		{openHowBytes(unix.O_PATH|unix.O_RDWR, 0, 0), unix.EINVAL},
		{openHowBytes(unix.O_PATH|unix.O_DIRECTORY, 0, 0), nil},
		{openHowBytes(unix.O_CREAT, 0, resolveCached), unix.EAGAIN},
	} {
		if _, err := parseOpenHow(tt.b); err != tt.err {
			t.Errorf("%x: %v, want %v", tt.b, err, tt.err)
		}
	}
}

func FuzzOpenHow(f *testing.F) {
	f.Add(openHowBytes(unix.O_TMPFILE|unix.O_RDWR, 0o600, unix.RESOLVE_NO_XDEV))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < openHowSize {
			return
		}
		how, err := parseOpenHow(b)
		if err == nil && (how.Flags&^uint32(validOpenFlags) != 0 || how.Mode&^0o7777 != 0) {
			t.Errorf("%+v", how)
		}
	})
}

// TestPutStat compares our layouts with the host's.
func TestPutStat(t *testing.T) {
	var st unix.Stat_t
	if err := unix.Stat("/dev/null", &st); err != nil {
		t.Fatal(err)
	}
	a := vfs.Attr{
		DevMajor: unix.Major(st.Dev), DevMinor: unix.Minor(st.Dev), Ino: st.Ino, Mode: st.Mode, Nlink: uint32(st.Nlink),
		UID: st.Uid, GID: st.Gid, RdevMajor: 1, RdevMinor: 3, Size: st.Size, Blocks: uint64(st.Blocks), BlockSize: uint32(st.Blksize),
		Atime: vfs.Time{Sec: st.Atim.Sec, Nsec: uint32(st.Atim.Nsec)},
		Mtime: vfs.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)},
		Ctime: vfs.Time{Sec: st.Ctim.Sec, Nsec: uint32(st.Ctim.Nsec)},
	}
	b := make([]byte, statSize)
	for i := range b {
		b[i] = 0xff // what the buffer held before must not be seen
	}
	putStat(b, &a)
	var got unix.Stat_t
	if _, err := binary.Decode(b, binary.LittleEndian, &got); err != nil {
		t.Fatal(err)
	}
	if got != st {
		t.Errorf("got  %+v\nwant %+v", got, st)
	}
	x := make([]byte, statxSize)
	for i := range x {
		x[i] = 0xff
	}
	putStatx(x, &a)
	var sx unix.Statx_t
	if _, err := binary.Decode(x, binary.LittleEndian, &sx); err != nil {
		t.Fatal(err)
	}
	if sx.Ino != a.Ino || uint32(sx.Mode) != a.Mode || sx.Rdev_minor != 3 || sx.Mtime.Sec != a.Mtime.Sec || sx.Blksize != a.BlockSize || sx.Mnt_id != 0 {
		t.Errorf("statx: %+v", sx)
	}
}

func TestRealIDs(t *testing.T) {
	c := auth.New(1000, 1000, nil)
	c.EUID, c.FSUID, c.Effective, c.Permitted = 0, 0, auth.AllCaps, auth.AllCaps
	if r := realIDs(c); r.FSUID != 1000 || r.Effective != 0 || c.FSUID != 0 {
		t.Errorf("set-user-ID root: %+v", r)
	}
	c = auth.New(0, 0, nil)
	c.EUID, c.FSUID, c.Effective = 1000, 1000, 0
	if r := realIDs(c); r.FSUID != 0 || r.Effective != c.Permitted {
		t.Errorf("root in disguise: %+v", r)
	}
	if c := auth.New(5, 5, nil); realIDs(c) != c {
		t.Error("a plain user's credentials are copied")
	}
}
