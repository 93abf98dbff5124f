package process

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// namespaceKind is one kind of namespace.
type namespaceKind struct {
	kind specs.LinuxNamespaceType
	name string // in /proc/PID/ns
	flag int    // of clone3(2), unshare(2) and setns(2)
}

// namespaceKinds are in the order in which they are joined: the mount namespace
// after those whose paths it may hide.
var namespaceKinds = []namespaceKind{
	{specs.UserNamespace, "user", unix.CLONE_NEWUSER},
	{specs.IPCNamespace, "ipc", unix.CLONE_NEWIPC},
	{specs.UTSNamespace, "uts", unix.CLONE_NEWUTS},
	{specs.NetworkNamespace, "net", unix.CLONE_NEWNET},
	{specs.PIDNamespace, "pid", unix.CLONE_NEWPID},
	{specs.CgroupNamespace, "cgroup", unix.CLONE_NEWCGROUP},
	{specs.TimeNamespace, "time", unix.CLONE_NEWTIME},
	{specs.MountNamespace, "mnt", unix.CLONE_NEWNS},
}

func kindOf(t specs.LinuxNamespaceType) (namespaceKind, bool) {
	i := slices.IndexFunc(namespaceKinds, func(k namespaceKind) bool { return k.kind == t })
	if i < 0 {
		return namespaceKind{}, false
	}
	return namespaceKinds[i], true
}

// joined is a namespace to join.
type joined struct {
	namespaceKind
	file *os.File
	// what names it in errors.
	what string
}

// namespaces says which namespaces a spec asks for: flags of those to be
// created, and files of those to be joined, which the caller closes. A user
// namespace that is the caller's own already is neither.
func namespaces(spec *specs.Spec) (fresh int, join []joined, err error) {
	defer func() {
		if err != nil {
			closeJoined(join)
			join = nil
		}
	}()
	if spec.Linux == nil {
		return 0, nil, nil
	}
	for i, ns := range spec.Linux.Namespaces {
		field := fmt.Sprintf("linux.namespaces[%d] (%s)", i, ns.Type)
		k, ok := kindOf(ns.Type)
		if !ok {
			return 0, join, fmt.Errorf("%s: this type of namespace is not known", field)
		}
		if ns.Path == "" {
			fresh |= k.flag
			continue
		}
		f, err := openNamespace(ns.Path, k)
		if err != nil {
			return 0, join, fmt.Errorf("%s: %w", field, err)
		}
		if k.flag == unix.CLONE_NEWUSER && sameFile(f, "/proc/self/ns/user") {
			f.Close() // to join the own one again is an error on Linux
			continue
		}
		join = append(join, joined{k, f, fmt.Sprintf("joining the namespace %s of %s", ns.Path, field)})
	}
	slices.SortFunc(join, func(a, b joined) int {
		return slices.Index(namespaceKinds, a.namespaceKind) - slices.Index(namespaceKinds, b.namespaceKind)
	})
	return fresh, join, nil
}

func closeJoined(list []joined) {
	for _, j := range list {
		j.file.Close()
	}
}

// openNamespace opens a namespace and makes sure of its kind. What is opened
// stays the same one, whatever its path leads to later.
func openNamespace(path string, k namespaceKind) (*os.File, error) {
	// A FIFO in its place must not make coffer wait.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		err = &os.PathError{Op: "open", Path: path, Err: err}
		if errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("%w: the namespace to join must exist, as a file in /proc/PID/ns of a living process or where one is mounted", err)
		}
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is not a namespace: name a file in /proc/PID/ns, or where one is mounted", path)
	}
	if kind != k.flag {
		f.Close()
		is := "another kind of"
		if i := slices.IndexFunc(namespaceKinds, func(o namespaceKind) bool { return o.flag == kind }); i >= 0 {
			is = "a " + string(namespaceKinds[i].kind)
		}
		return nil, fmt.Errorf("%s is %s namespace, not a %s namespace", path, is, k.kind)
	}
	return f, nil
}

// sameFile reports whether f is the file at path.
func sameFile(f *os.File, path string) bool {
	var a, b unix.Stat_t
	return unix.Fstat(int(f.Fd()), &a) == nil && unix.Stat(path, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// foreignNamespaces returns the flags of the namespaces of process pid that are
// not the caller's own. The caller has made sure that it is the right process
// (isolation.PID.Open), and has to do so again.
func foreignNamespaces(pid int) (flags int, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/ns/"
	for _, k := range namespaceKinds {
		var theirs, ours unix.Stat_t
		if err := unix.Stat("/proc/self/ns/"+k.name, &ours); err != nil {
			continue // this kernel has no such namespaces
		}
		if err := unix.Stat(dir+k.name, &theirs); err != nil {
			return 0, &os.PathError{Op: "stat", Path: dir + k.name, Err: err}
		}
		if theirs.Ino != ours.Ino || theirs.Dev != ours.Dev {
			flags |= k.flag
		}
	}
	return flags, nil
}

// hasNamespace reports whether the spec has a namespace of a type that is not
// coffer's own, new or joined.
func hasNamespace(spec *specs.Spec, t specs.LinuxNamespaceType) bool {
	return spec.Linux != nil && slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == t })
}

// newNamespace reports whether the spec asks for a new namespace of a type.
func newNamespace(spec *specs.Spec, t specs.LinuxNamespaceType) bool {
	return spec.Linux != nil && slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == t && n.Path == "" })
}
