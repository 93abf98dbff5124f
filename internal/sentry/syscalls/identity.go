package syscalls

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func identityRows() []Row {
	return []Row{
		full(102, "getuid", sysGetuid),
		full(104, "getgid", sysGetgid),
		full(107, "geteuid", sysGeteuid),
		full(108, "getegid", sysGetegid),
		full(105, "setuid", sysSetuid, P("uid", Dec)),
		full(106, "setgid", sysSetgid, P("gid", Dec)),
		full(113, "setreuid", sysSetreuid, P("ruid", Dec), P("euid", Dec)),
		full(114, "setregid", sysSetregid, P("rgid", Dec), P("egid", Dec)),
		full(115, "getgroups", sysGetgroups, P("size", Dec), P("list", OutIDs)),
		full(116, "setgroups", sysSetgroups, P("size", Dec), P("list", IDs).counts(-1)),
		full(117, "setresuid", sysSetresuid, P("ruid", Dec), P("euid", Dec), P("suid", Dec)),
		full(118, "getresuid", sysGetresuid, P("ruid", OutInt), P("euid", OutInt), P("suid", OutInt)),
		full(119, "setresgid", sysSetresgid, P("rgid", Dec), P("egid", Dec), P("sgid", Dec)),
		full(120, "getresgid", sysGetresgid, P("rgid", OutInt), P("egid", OutInt), P("sgid", OutInt)),
		full(122, "setfsuid", sysSetfsuid, P("fsuid", Dec)),
		full(123, "setfsgid", sysSetfsgid, P("fsgid", Dec)),
		full(125, "capget", sysCapget, P("hdrp", CapHeader), P("datap", OutCapData).counts(-1)),
		full(126, "capset", sysCapset, P("hdrp", CapHeader), P("datap", CapData).counts(-1)),
	}
}

func sysGetuid(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	c := t.Credentials()
	return uintptr(c.UserNS.FromUID(c.RUID)), nil
}

func sysGetgid(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	c := t.Credentials()
	return uintptr(c.UserNS.FromGID(c.RGID)), nil
}

func sysGeteuid(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	c := t.Credentials()
	return uintptr(c.UserNS.FromUID(c.EUID)), nil
}

func sysGetegid(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	c := t.Credentials()
	return uintptr(c.UserNS.FromGID(c.EGID)), nil
}

// change replaces the task's credentials by what f makes of a copy.
func change(t *kernel.Task, f func(*auth.Credentials) error) (uintptr, error) {
	old := t.Credentials()
	c := old.Clone()
	if err := f(c); err != nil {
		return 0, err
	}
	// A process that has other rights than who started it shows less of
	// itself (prctl(2), PR_SET_DUMPABLE), and loses its death signal.
	if c.EUID != old.EUID || c.EGID != old.EGID || c.FSUID != old.FSUID || c.FSGID != old.FSGID ||
		c.Permitted&^old.Permitted != 0 {
		t.MM().SetDumpable(0)
		t.SetDeathSignal(0)
	}
	t.SetCredentials(c)
	return 0, nil
}

// changeIDs is change with the first n arguments, which are IDs as the caller's
// user namespace names them. EINVAL for one without a mapping; NoID stays.
func changeIDs(t *kernel.Task, a kernel.Args, kind auth.IDKind, n int, f func(*auth.Credentials, [3]uint32) error) (uintptr, error) {
	return change(t, func(c *auth.Credentials) error {
		var id [3]uint32
		for i := range n {
			if id[i] = c.UserNS.To(kind, a.Uint(i)); id[i] == auth.NoID && a.Uint(i) != auth.NoID {
				return unix.EINVAL
			}
		}
		return f(c, id)
	})
}

func sysSetuid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return changeIDs(t, a, auth.UserID, 1, func(c *auth.Credentials, id [3]uint32) error { return c.SetUID(id[0]) })
}

func sysSetgid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return changeIDs(t, a, auth.GroupID, 1, func(c *auth.Credentials, id [3]uint32) error { return c.SetGID(id[0]) })
}

func sysSetreuid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return changeIDs(t, a, auth.UserID, 2, func(c *auth.Credentials, id [3]uint32) error { return c.SetREUID(id[0], id[1]) })
}

func sysSetregid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return changeIDs(t, a, auth.GroupID, 2, func(c *auth.Credentials, id [3]uint32) error { return c.SetREGID(id[0], id[1]) })
}

func sysSetresuid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return changeIDs(t, a, auth.UserID, 3, func(c *auth.Credentials, id [3]uint32) error { return c.SetRESUID(id[0], id[1], id[2]) })
}

func sysSetresgid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return changeIDs(t, a, auth.GroupID, 3, func(c *auth.Credentials, id [3]uint32) error { return c.SetRESGID(id[0], id[1], id[2]) })
}

// sysSetfsuid is setfsuid(2), which returns the former ID and no error.
func sysSetfsuid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	c := t.Credentials()
	old := c.UserNS.FromUID(c.FSUID)
	changeIDs(t, a, auth.UserID, 1, func(c *auth.Credentials, id [3]uint32) error { return c.SetFSUID(id[0]) })
	return uintptr(old), nil
}

// sysSetfsgid is setfsgid(2), which returns the former ID and no error.
func sysSetfsgid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	c := t.Credentials()
	old := c.UserNS.FromGID(c.FSGID)
	changeIDs(t, a, auth.GroupID, 1, func(c *auth.Credentials, id [3]uint32) error { return c.SetFSGID(id[0]) })
	return uintptr(old), nil
}

// copyOutIDs writes three IDs to the three addresses of the arguments.
func copyOutIDs(t *kernel.Task, a kernel.Args, ids ...uint32) (uintptr, error) {
	for i, id := range ids {
		if err := t.CopyOutUint32(a[i], id); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func sysGetresuid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	c := t.Credentials()
	u := c.UserNS
	return copyOutIDs(t, a, u.FromUID(c.RUID), u.FromUID(c.EUID), u.FromUID(c.SUID))
}

func sysGetresgid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	c := t.Credentials()
	u := c.UserNS
	return copyOutIDs(t, a, u.FromGID(c.RGID), u.FromGID(c.EGID), u.FromGID(c.SGID))
}

// maxGroups is NGROUPS_MAX.
const maxGroups = 65536

// sysGetgroups is getgroups(2).
func sysGetgroups(t *kernel.Task, a kernel.Args) (uintptr, error) {
	c := t.Credentials()
	size, groups := a.Int(0), c.Groups
	if size < 0 {
		return 0, unix.EINVAL
	}
	if size == 0 {
		return uintptr(len(groups)), nil
	}
	if int(size) < len(groups) {
		return 0, unix.EINVAL
	}
	for i, g := range groups {
		if err := t.CopyOutUint32(a[1]+uint64(i)*4, c.UserNS.FromGID(g)); err != nil {
			return 0, err
		}
	}
	return uintptr(len(groups)), nil
}

// sysSetgroups is setgroups(2).
func sysSetgroups(t *kernel.Task, a kernel.Args) (uintptr, error) {
	own := t.Credentials()
	if !own.CanHere(unix.CAP_SETGID) || !own.UserNS.MaySetGroups() {
		return 0, unix.EPERM
	}
	size := a.Uint(0)
	if size > maxGroups {
		return 0, unix.EINVAL
	}
	raw := make([]byte, size*4)
	if _, err := t.CopyIn(a[1], raw); err != nil {
		return 0, err
	}
	groups := make([]uint32, size)
	for i := range groups {
		if groups[i] = own.UserNS.ToGID(native.Uint32(raw[i*4:])); groups[i] == auth.NoID {
			return 0, unix.EINVAL
		}
	}
	return change(t, func(c *auth.Credentials) error { return c.SetGroups(groups) })
}

// Versions of capget(2)'s header, and how many 32-bit parts each has.
var capVersions = map[uint32]int{0x19980330: 1, 0x20071026: 2, 0x20080522: 2}

const capVersion3 = 0x20080522

type (
	capHeader struct {
		Version uint32
		PID     int32
	}
	// capPart is struct __user_cap_data_struct: 32 bits of each set.
	capPart struct{ Effective, Permitted, Inheritable uint32 }
)

// copyInCapHeader reads the header. For a version that does not exist it
// writes the preferred one, and answers 0 parts.
func copyInCapHeader(t *kernel.Task, addr uint64) (h capHeader, parts int, err error) {
	if err := kernel.CopyInStruct(t, addr, &h); err != nil {
		return h, 0, err
	}
	if parts = capVersions[h.Version]; parts == 0 {
		err = t.CopyOutUint32(addr, capVersion3)
	}
	return h, parts, err
}

// sysCapget is capget(2).
func sysCapget(t *kernel.Task, a kernel.Args) (uintptr, error) {
	h, parts, err := copyInCapHeader(t, a[0])
	if err != nil {
		return 0, err
	}
	if parts == 0 {
		if a[1] == 0 { // a question for the version only
			return 0, nil
		}
		return 0, unix.EINVAL
	}
	if h.PID < 0 {
		return 0, unix.EINVAL
	}
	target := t
	if h.PID != 0 {
		if target = t.PIDs().Task(h.PID); target == nil {
			return 0, unix.ESRCH
		}
	}
	if a[1] == 0 {
		return 0, nil
	}
	c := target.Credentials()
	for i := range parts {
		shift := 32 * i
		part := capPart{uint32(c.Effective >> shift), uint32(c.Permitted >> shift), uint32(c.Inheritable >> shift)}
		if err := kernel.CopyOutStruct(t, a[1]+uint64(i)*12, &part); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// sysCapset is capset(2).
func sysCapset(t *kernel.Task, a kernel.Args) (uintptr, error) {
	h, parts, err := copyInCapHeader(t, a[0])
	if err != nil {
		return 0, err
	}
	if parts == 0 {
		return 0, unix.EINVAL
	}
	if h.PID != 0 && h.PID != t.TID() {
		return 0, unix.EPERM
	}
	var effective, permitted, inheritable auth.CapSet
	for i := range parts {
		var part capPart
		if err := kernel.CopyInStruct(t, a[1]+uint64(i)*12, &part); err != nil {
			return 0, err
		}
		effective |= auth.CapSet(part.Effective) << (32 * i)
		permitted |= auth.CapSet(part.Permitted) << (32 * i)
		inheritable |= auth.CapSet(part.Inheritable) << (32 * i)
	}
	return change(t, func(c *auth.Credentials) error {
		return c.SetCaps(effective&auth.AllCaps, permitted&auth.AllCaps, inheritable&auth.AllCaps)
	})
}
