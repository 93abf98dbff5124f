package procfs

import (
	"bytes"
	"slices"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/fs/nsfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// namespaces are the links in /proc/PID/ns.
var namespaces = []string{
	"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts",
}

// namespaceDir is /proc/PID/ns.
type namespaceDir struct{ subDir }

func newNamespaceDir(d *taskDir, ino uint64) vfs.Inode { return &namespaceDir{d.sub(ino, 0o511)} }

func (d *namespaceDir) Lookup(name string) (vfs.Inode, error) {
	if !slices.Contains(namespaces, name) {
		return nil, unix.ENOENT
	}
	return &namespaceLink{link: d.link(name), name: name}, nil
}

func (d *namespaceDir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: d}, nil
}

// List implements genfs.Lister.
func (d *namespaceDir) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	for i := after; i < int64(len(namespaces)); i++ {
		n := namespaces[i]
		if !emit(i+1, vfs.DirEntry{Ino: genfs.Ino(d.ino, n), Type: unix.DT_LNK, Name: n}) {
			return nil
		}
	}
	return nil
}

// namespaceLink is a link such as /proc/PID/ns/pid, which leads to the namespace.
type namespaceLink struct {
	link
	name string
}

// namespace is the one that the link leads to, with a reference if its kind is
// counted.
func (l *namespaceLink) namespace(c vfs.Caller) (kernel.Namespace, error) {
	if err := l.mayLook(c); err != nil {
		return nil, err
	}
	t, err := l.task()
	if err != nil {
		return nil, err
	}
	return t.InNamespace(l.name)
}

// Readlink implements vfs.Inode.
func (l *namespaceLink) Readlink(c vfs.Caller) (string, error) {
	ns, err := l.namespace(c)
	if err != nil {
		return "", err
	}
	defer kernel.DropNamespace(ns)
	return nsfs.Label(ns), nil
}

// Follow implements vfs.MagicLink.
func (l *namespaceLink) Follow(c vfs.Caller) (vfs.Path, error) {
	ns, err := l.namespace(c)
	if err != nil {
		return vfs.Path{}, err
	}
	return nsfs.Place(ns)
}

// userNamespace is the subject's.
func (s subject) userNamespace() (*auth.UserNamespace, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	return t.Credentials().UserNS, nil
}

// idMap renders /proc/PID/uid_map and its like (user_namespaces(7)).
func idMap(kind auth.IDKind) content {
	return func(s subject, c vfs.Caller, b []byte) ([]byte, error) {
		ns, err := s.userNamespace()
		if err != nil {
			return nil, err
		}
		return ns.AppendMap(b, kind, c.Credentials().UserNS), nil
	}
}

// setIDMap writes them.
func setIDMap(kind auth.IDKind) func(subject, vfs.Caller, *auth.Credentials, []byte) error {
	return func(s subject, c vfs.Caller, opener *auth.Credentials, data []byte) error {
		ns, err := s.userNamespace()
		if err != nil {
			return err
		}
		return ns.SetMap(kind, c.Credentials(), opener, string(data))
	}
}

// setgroups renders /proc/PID/setgroups.
func setgroups(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	ns, err := s.userNamespace()
	if err != nil {
		return nil, err
	}
	if ns.GroupsDenied() {
		return append(b, "deny\n"...), nil
	}
	return append(b, "allow\n"...), nil
}

// setSetgroups writes it.
func setSetgroups(s subject, _ vfs.Caller, opener *auth.Credentials, data []byte) error {
	ns, err := s.userNamespace()
	if err != nil {
		return err
	}
	// Linux asks when the file is opened.
	if !opener.CanIn(ns, unix.CAP_SYS_ADMIN) {
		return unix.EACCES
	}
	switch string(bytes.TrimRight(data, " \t\n\x00")) {
	case "allow":
		return ns.AllowGroups()
	case "deny":
		return ns.DenyGroups()
	}
	return unix.EINVAL
}
