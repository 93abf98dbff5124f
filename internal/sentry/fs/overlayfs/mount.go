package overlayfs

import (
	"slices"
	"strings"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// mount(2) lays directories of the guest's over each other.
func init() {
	vfs.RegisterFileSystemType(vfs.FileSystemType{Name: typeName, Nested: true, Mount: mount})
}

const (
	typeName = "overlay"
	// lowersMax is how many lower directories there may be (OVL_MAX_STACK).
	lowersMax = 500
	// depthMax is how many overlays may lie upon each other
	// (FILESYSTEM_MAX_STACK_DEPTH).
	depthMax = 2
	// procMagic is proc's number for statfs(2): its names depend on who looks.
	procMagic = 0x9fa0
)

// walker is a Caller that walks paths, as tasks are.
type walker interface {
	vfs.Caller
	PathOrigin() vfs.Origin
	Mounts() *vfs.MountNamespace
}

// options are those of a mount.
type options struct {
	lowers      []string
	upper, work string
	user        bool // userxattr
}

// harmless are options that ask for what is so here anyway, or for what has no
// meaning here (a nil list).
var harmless = map[string][]string{
	"redirect_dir": {"off", "nofollow"}, "index": {"off"}, "nfs_export": {"off"}, "metacopy": {"off"}, "verity": {"off"},
	"xino": nil, "uuid": nil, "volatile": nil, "default_permissions": nil,
}

// parseOptions reads what
// https://docs.kernel.org/filesystems/overlayfs.html tells of. EINVAL for options
// that are unknown, or ask for what this overlay does not do: names that lead from
// layer to layer, and copies without contents.
func parseOptions(data string) (o options, err error) {
	for _, opt := range split(data, ',') {
		key, value, _ := strings.Cut(opt, "=")
		switch key {
		case "":
		case "lowerdir":
			o.lowers = nil
			for _, l := range split(value, ':') {
				o.lowers = append(o.lowers, unescape(l))
			}
		case "lowerdir+":
			o.lowers = append(o.lowers, unescape(value))
		case "upperdir":
			o.upper = unescape(value)
		case "workdir":
			o.work = unescape(value)
		case "userxattr":
			o.user = true
		default:
			allowed, known := harmless[key]
			if !known || allowed != nil && !slices.Contains(allowed, value) {
				return o, unix.EINVAL
			}
		}
	}
	switch {
	case len(o.lowers) == 0 || len(o.lowers) > lowersMax || slices.Contains(o.lowers, ""):
		return o, unix.EINVAL
	case o.upper == "" && len(o.lowers) < 2, o.upper != "" && o.work == "":
		return o, unix.EINVAL
	}
	return o, nil
}

// split splits at a separator that has no backslash before it.
func split(s string, sep byte) []string {
	var parts []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case sep:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

// unescape takes the backslashes away by which separators are meant literally.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mount is mount(2)'s part.
func mount(r vfs.MountRequest) (vfs.FileSystem, error) {
	c, ok := r.Caller.(walker)
	if !ok {
		return nil, unix.ENODEV
	}
	o, err := parseOptions(r.Data)
	if err != nil {
		return nil, err
	}
	s := &stack{c: c}
	fs, err := s.build(o)
	if err != nil {
		s.release()
		return nil, err
	}
	fs.options = r.Data
	return fs, nil
}

// stack gathers the layers of an overlay.
type stack struct {
	c      walker
	claims []*vfs.Layer
	depth  int
}

func (s *stack) release() {
	for _, l := range s.claims {
		l.Release()
	}
}

// directory finds a directory. The caller drops the path's reference.
func (s *stack) directory(path string) (vfs.Path, error) {
	o := s.c.PathOrigin()
	defer o.Root.DecRef()
	defer o.Start.DecRef()
	return s.c.Mounts().Resolve(s.c, o, path, vfs.WantDirectory)
}

// layer claims a directory as a layer. EINVAL for one that cannot be: it belongs to
// a file system of another process's, or that shows each process something else,
// or too many overlays would lie upon each other.
func (s *stack) layer(p vfs.Path) (*vfs.Layer, error) {
	if _, served := p.Inode().(vfs.ServedInode); served {
		return nil, unix.EINVAL
	}
	l, err := p.Layer()
	if err != nil {
		return nil, err
	}
	s.claims = append(s.claims, l)
	if below, ok := l.FileSystem().(*FileSystem); ok {
		s.depth = max(s.depth, below.depth)
	}
	st, err := l.FileSystem().StatFS()
	if err == nil && st.Type == procMagic {
		err = unix.EINVAL
	}
	return l, err
}

// build makes the overlay.
func (s *stack) build(o options) (*FileSystem, error) {
	fs := &FileSystem{dev: vfs.AnonymousDevice(), prefix: trustedPrefix, release: s.release}
	if o.user {
		fs.prefix = userPrefix
	}
	fs.by = self{s.c.Credentials()}
	var upper vfs.Inode
	if o.upper != "" {
		if err := s.writable(fs, o); err != nil {
			return nil, err
		}
		upper = fs.upper.Root()
	}
	lowers, err := s.lowers(o.lowers)
	if err != nil {
		return nil, err
	}
	if upper == nil {
		fs.space = s.claims[0].FileSystem()
	}
	if fs.depth = s.depth + 1; fs.depth > depthMax {
		return nil, unix.EINVAL
	}
	attr, err := lowers[0].Attr()
	if err != nil {
		return nil, err
	}
	fs.inos.of(attr.DevMajor, attr.DevMinor, 0)
	fs.root, err = fs.node(nil, "", upper, lowers)
	return fs, err
}

// lowers claims the lower directories. ELOOP if one lies in another, or is another.
func (s *stack) lowers(names []string) ([]vfs.Inode, error) {
	var inodes []vfs.Inode
	var paths []vfs.Path
	defer func() {
		for _, p := range paths {
			p.DecRef()
		}
	}()
	for _, name := range names {
		p, err := s.directory(name)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
		l, err := s.layer(p)
		if err != nil {
			return nil, err
		}
		inodes = append(inodes, l.Root())
	}
	for i, a := range paths {
		for j, b := range paths {
			if i != j && a.Within(b) {
				return nil, unix.ELOOP
			}
		}
	}
	return inodes, nil
}

// writable claims the upper and the work directory. EINVAL if they are not on one
// mount, or one lies in the other, or they cannot be written to, or are an
// overlay's.
func (s *stack) writable(fs *FileSystem, o options) error {
	up, err := s.directory(o.upper)
	if err != nil {
		return err
	}
	defer up.DecRef()
	work, err := s.directory(o.work)
	if err != nil {
		return err
	}
	defer work.DecRef()
	if _, overlay := up.Mount.FileSystem().(*FileSystem); overlay ||
		up.Mount != work.Mount || up.Mount.ReadOnly() || up.Within(work) || work.Within(up) {
		return unix.EINVAL
	}
	if fs.upper, err = s.layer(up); err != nil {
		return err
	}
	fs.space = fs.upper.FileSystem()
	in, err := s.layer(work)
	if err != nil {
		return err
	}
	if err := fs.mayChange(in.Root()); err != nil {
		return err
	}
	cred := s.c.Credentials()
	fs.work, err = in.Root().Lookup(workDir)
	if err == unix.ENOENT {
		fs.work, err = in.Root().Mkdir(vfs.Owner{UID: cred.FSUID, GID: cred.FSGID}, workDir, 0)
		in.Changed(in.Root(), workDir)
	}
	if err != nil {
		return err
	}
	if kind, _, err := classify(fs.work); err != nil || kind != unix.S_IFDIR {
		return unix.EINVAL
	}
	hold(fs.work)
	fs.release = func() {
		letGo(fs.work)
		s.release()
	}
	return s.markable(fs)
}

// markable sees to it that marks can be made in the upper layer: a directory of the
// host's takes no trusted attributes from a sentry, and then they are a user's.
func (s *stack) markable(fs *FileSystem) error {
	const probe = "probe"
	err := fs.work.SetXattr(fs.prefix+probe, []byte{'y'}, 0)
	if err != nil && fs.prefix == trustedPrefix {
		fs.prefix = userPrefix
		err = fs.work.SetXattr(fs.prefix+probe, []byte{'y'}, 0)
	}
	if err != nil {
		return unix.EINVAL
	}
	return fs.work.RemoveXattr(fs.prefix + probe)
}
