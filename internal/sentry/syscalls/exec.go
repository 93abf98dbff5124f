package syscalls

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/loader"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func execRows() []Row {
	return []Row{
		partial(unix.SYS_EXECVE, "execve", sysExecve, execCaveat,
			P("pathname", PathStr), P("argv", StrVec), P("envp", StrVec)),
		partial(unix.SYS_EXECVEAT, "execveat", sysExecveat, execCaveat,
			P("dirfd", DirFD), P("pathname", PathStr), P("argv", StrVec), P("envp", StrVec), PF("flags", Flags, execFlags)),
	}
}

const execCaveat = "file capabilities (security.capability) are not looked at"

var execFlags = &FlagSet{Names: []FlagName{
	{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}, {unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
}}

func sysExecve(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, guestExec(t, unix.AT_FDCWD, a[0], a[1], a[2], 0)
}

func sysExecveat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(4)
	if flags&^uint32(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW) != 0 {
		return 0, unix.EINVAL
	}
	return 0, guestExec(t, a.Int(0), a[1], a[2], a[3], flags)
}

// guestExec executes what pointers of the guest name.
func guestExec(t *kernel.Task, dirfd int32, pathAddr, argvAddr, envpAddr uint64, flags uint32) error {
	path, err := t.CopyInPath(pathAddr)
	if err != nil {
		return err
	}
	v := stringVectors{t: t, left: maxArgBytes}
	argv, err := v.copyIn(argvAddr)
	if err != nil {
		return err
	}
	envp, err := v.copyIn(envpAddr)
	if err != nil {
		return err
	}
	return execAt(t, dirfd, path, argv, envp, flags)
}

const (
	// maxArgBytes bounds arguments and environment whatever RLIMIT_STACK is
	// (3/4 of _STK_LIM); the loader applies the limit itself.
	maxArgBytes = 6 << 20
	// maxArgString is MAX_ARG_STRLEN, the longest single string with its NUL.
	maxArgString = 32 * 4096
)

// stringVectors reads argv and envp. Their strings lie close to each other as
// a rule, so it reads pages and takes the strings from them.
type stringVectors struct {
	t    *kernel.Task
	left int    // how many bytes there may be yet
	addr uint64 // where page was read
	page []byte
}

// copyIn reads a NULL-terminated vector of strings; a NULL vector is empty.
// Each string takes its bytes and its pointer from left; E2BIG when there is
// none left.
func (v *stringVectors) copyIn(addr uint64) ([]string, error) {
	var list []string
	if addr == 0 {
		return nil, nil
	}
	var chunk [32 * 8]byte
	for {
		n, err := v.t.CopyIn(addr, chunk[:])
		for i := 0; i+8 <= n; i += 8 {
			p := binary.LittleEndian.Uint64(chunk[i:])
			if p == 0 {
				return list, nil
			}
			s, err := v.str(p)
			if err != nil {
				return nil, err
			}
			if v.left -= len(s) + 1 + 8; v.left < 0 {
				return nil, unix.E2BIG
			}
			list = append(list, s)
		}
		if err != nil {
			return nil, err
		}
		addr += uint64(len(chunk))
	}
}

// str reads one string.
func (v *stringVectors) str(addr uint64) (string, error) {
	var long []byte
	for most := min(maxArgString, max(v.left, 1)); len(long) < most; {
		part, err := v.at(addr)
		if err != nil {
			return "", err
		}
		part = part[:min(len(part), most-len(long))]
		if i := bytes.IndexByte(part, 0); i >= 0 {
			if long == nil {
				return string(part[:i]), nil
			}
			return string(append(long, part[:i]...)), nil
		}
		long = append(long, part...)
		addr += uint64(len(part))
	}
	return "", unix.E2BIG
}

// at returns what is in memory from addr to the end of its page.
func (v *stringVectors) at(addr uint64) ([]byte, error) {
	const size = 4096
	if off := addr - v.addr; addr >= v.addr && off < uint64(len(v.page)) {
		return v.page[off:], nil
	}
	if v.page == nil {
		v.page = make([]byte, size)
	}
	v.addr, v.page = addr, v.page[:size-addr%size]
	n, err := v.t.CopyIn(addr, v.page)
	if v.page = v.page[:n]; n == 0 {
		return nil, err
	}
	return v.page, nil
}

// Exec has t execute a program, as execve(2) does: for the first program of a
// process that kernel.CreateProcess made and that was not started yet.
func Exec(t *kernel.Task, path string, argv, envp []string) error {
	return execAt(t, unix.AT_FDCWD, path, argv, envp, 0)
}

func execAt(t *kernel.Task, dirfd int32, path string, argv, envp []string, flags uint32) error {
	fs := t.FS()
	args := loader.Args{
		Caller: t, Mounts: fs.Mounts(), Name: path, Argv: argv, Envv: envp,
		Limits: t.ThreadGroup(), Max: t.Kernel().Platform.Limits().Max,
	}
	root, cwd := fs.Root(), fs.Cwd()
	defer root.DecRef()
	defer cwd.DecRef()
	args.Origin = vfs.Origin{Root: root, Start: cwd}
	file, err := openExecutable(t, dirfd, path, flags, &args)
	if err != nil {
		return err
	}
	defer file.DecRef()
	args.File = file
	img, err := loader.Open(args)
	if err != nil {
		return err
	}
	defer img.Close()
	id, err := execIdentity(t, img)
	if err != nil {
		return err
	}
	if err := t.BeginExec(); err != nil {
		return err
	}
	return replaceProgram(t, img, id)
}

// openExecutable finds the file that execveat(2)'s arguments mean, and in args
// the name that the program is to have.
func openExecutable(t *kernel.Task, dirfd int32, path string, flags uint32, args *loader.Args) (*vfs.FileDescription, error) {
	var follow vfs.ResolveFlags
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		follow = vfs.NoFollowLast
	}
	switch {
	case path == "" && flags&unix.AT_EMPTY_PATH == 0:
		return nil, unix.ENOENT
	case path != "" && (path[0] == '/' || dirfd == unix.AT_FDCWD):
		return loader.OpenExecutable(t, args.Mounts, args.Origin, path, follow)
	case path == "" && dirfd == unix.AT_FDCWD:
		return nil, unix.EACCES
	}
	d, err := t.File(dirfd)
	if err != nil {
		return nil, err
	}
	defer d.DecRef()
	cloexec, _ := t.FDs().Cloexec(dirfd)
	args.NameVanishes = cloexec
	args.Name = "/dev/fd/" + strconv.Itoa(int(dirfd))
	if path == "" {
		return loader.Executable(t, d)
	}
	args.Name += "/" + path
	if !d.Path.Valid() {
		return nil, unix.ENOTDIR
	}
	return loader.OpenExecutable(t, args.Mounts, vfs.Origin{Root: args.Origin.Root, Start: d.Path}, path, follow)
}

// replaceProgram goes on where there is no way back: a failure ends the process.
func replaceProgram(t *kernel.Task, img *loader.Image, id loader.Identity) error {
	const noRandomize = 0x0040000 // ADDR_NO_RANDOMIZE of personality(2)
	if old := t.MM(); old != nil && id.Secure {
		old.Retire()
	}
	m, ctx, err := t.ReplaceMemory(t.Attributes().Personality&noRandomize != 0)
	if err != nil {
		t.ExecFailed()
		return err
	}
	prog, err := img.Load(m, ctx, id)
	if err != nil {
		t.ExecFailed()
		return err
	}
	if id.Secure {
		m.SetDumpable(0)
	}
	t.FinishExec(prog.Entry, prog.Stack, prog.Comm, id.Creds)
	return nil
}

// execIdentity works out who the program runs as: set-user-ID and set-group-ID
// bits, and the transformation of capabilities during execve (capabilities(7)).
func execIdentity(t *kernel.Task, img *loader.Image) (loader.Identity, error) {
	old := t.Credentials()
	set, err := img.SetID()
	if err != nil {
		return loader.Identity{}, err
	}
	c := old.Clone()
	mapped := (!set.User || c.UserNS.Maps(auth.UserID, set.UID)) && (!set.Group || c.UserNS.Maps(auth.GroupID, set.GID))
	if !c.NoNewPrivs && !t.TracedByUnprivileged() && mapped && img.MaySetID(t.Mounts(), c) {
		if set.User {
			c.EUID = set.UID
		}
		if set.Group {
			c.EGID = set.GID
		}
	}
	c.SUID, c.FSUID = c.EUID, c.EUID
	c.SGID, c.FSGID = c.EGID, c.EGID
	setID := c.EUID != old.RUID || c.EGID != old.RGID
	if setID && (c.EUID != old.EUID || c.EGID != old.EGID) {
		c.Ambient = 0
	}
	var file auth.CapSet
	effective := false
	const noRoot = 1 // SECBIT_NOROOT
	root := c.UserNS.ToUID(0)
	if c.SecureBits&noRoot == 0 && (c.EUID == root || c.RUID == root) {
		file = auth.AllCaps
		effective = c.EUID == root
	}
	c.Permitted = old.Inheritable&file | file&old.Bounding | c.Ambient
	c.Effective = c.Ambient
	if effective {
		c.Effective = c.Permitted
	}
	c.KeepCaps = false
	secure := setID || old.RUID != root && (effective || c.Permitted&^c.Ambient != 0)
	return loader.Identity{Creds: c, Secure: secure}, nil
}
