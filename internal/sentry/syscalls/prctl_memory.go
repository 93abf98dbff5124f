package syscalls

import (
	"encoding/binary"
	"strings"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

// prSetMM is PR_SET_MM: it changes what /proc shows of the program.
func prSetMM(t *kernel.Task, a kernel.Args) (uintptr, error) {
	field, addr, size := a.Int(1), a[2], a[3]
	if a[4] != 0 || size != 0 && field != unix.PR_SET_MM_AUXV && field != unix.PR_SET_MM_MAP && field != unix.PR_SET_MM_MAP_SIZE {
		return 0, unix.EINVAL
	}
	if !t.Credentials().Can(unix.CAP_SYS_RESOURCE) {
		return 0, unix.EPERM
	}
	m := t.MM()
	switch field {
	case unix.PR_SET_MM_EXE_FILE:
		f, err := t.File(int32(addr))
		if err != nil {
			return 0, err
		}
		defer f.DecRef()
		attr, err := f.Inode.Attr()
		if err != nil {
			return 0, err
		}
		if attr.Mode&unix.S_IFMT != unix.S_IFREG || attr.Mode&0o111 == 0 {
			return 0, unix.EACCES
		}
		m.SetExe(f)
		return 0, nil
	case unix.PR_SET_MM_AUXV:
		return 0, setAuxv(t, addr, size)
	}
	lim := m.PlatformLimits()
	if addr < lim.Min || addr >= lim.Max {
		return 0, unix.EINVAL
	}
	r, ok := m.RegionAt(addr)
	mm.ReleaseRegions([]mm.Region{r})
	var err error
	m.UpdateInfo(func(i *mm.Info) {
		p := mmField(i, field)
		switch {
		case p == nil:
			err = unix.EINVAL
		case field == unix.PR_SET_MM_START_BRK || field == unix.PR_SET_MM_BRK:
			if addr <= i.EndData {
				err = unix.EINVAL
			}
		case !ok || r.Start > addr: // all others must lie in a mapping
			err = unix.EINVAL
		}
		if err != nil {
			return
		}
		old := *p
		*p = addr
		if i.StartCode >= i.EndCode || i.StartData > i.EndData || i.StartBrk > i.Brk ||
			i.ArgStart > i.ArgEnd || i.EnvStart > i.EnvEnd {
			*p, err = old, unix.EINVAL
		}
	})
	return 0, err
}

// mmField is the field that a PR_SET_MM_* number names, or nil.
func mmField(i *mm.Info, field int32) *uint64 {
	switch field {
	case unix.PR_SET_MM_START_CODE:
		return &i.StartCode
	case unix.PR_SET_MM_END_CODE:
		return &i.EndCode
	case unix.PR_SET_MM_START_DATA:
		return &i.StartData
	case unix.PR_SET_MM_END_DATA:
		return &i.EndData
	case unix.PR_SET_MM_START_STACK:
		return &i.StartStack
	case unix.PR_SET_MM_START_BRK:
		return &i.StartBrk
	case unix.PR_SET_MM_BRK:
		return &i.Brk
	case unix.PR_SET_MM_ARG_START:
		return &i.ArgStart
	case unix.PR_SET_MM_ARG_END:
		return &i.ArgEnd
	case unix.PR_SET_MM_ENV_START:
		return &i.EnvStart
	case unix.PR_SET_MM_ENV_END:
		return &i.EnvEnd
	}
	return nil
}

// maxAuxv bounds PR_SET_MM_AUXV, as the vector that Linux keeps.
const maxAuxv = 2 * 8 * 32

func setAuxv(t *kernel.Task, addr, size uint64) error {
	if size == 0 || size > maxAuxv || size%8 != 0 {
		return unix.EINVAL
	}
	auxv := make([]byte, size)
	if _, err := t.CopyIn(addr, auxv); err != nil {
		return err
	}
	// The last entry is AT_NULL, whatever the caller gave.
	if size >= 16 {
		binary.LittleEndian.PutUint64(auxv[size-16:], 0)
		binary.LittleEndian.PutUint64(auxv[size-8:], 0)
	}
	t.MM().UpdateInfo(func(i *mm.Info) { i.Auxv = auxv })
	return nil
}

// maxVMAName is the longest name of PR_SET_VMA_ANON_NAME, with its NUL.
const maxVMAName = 80

// prSetVMA is PR_SET_VMA: it names anonymous memory for /proc/PID/maps.
func prSetVMA(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] != unix.PR_SET_VMA_ANON_NAME {
		return 0, unix.EINVAL
	}
	name := ""
	if a[4] != 0 {
		var err error
		if name, err = t.CopyInString(a[4], maxVMAName); err == unix.ENAMETOOLONG {
			return 0, unix.EINVAL
		} else if err != nil {
			return 0, err
		}
		bad := func(c rune) bool { return c < 0x20 || c > 0x7e || strings.ContainsRune("\\`$[]", c) }
		if strings.ContainsFunc(name, bad) {
			return 0, unix.EINVAL
		}
	}
	return 0, t.MM().NameAnonymous(a[2], a[3], name)
}
