package rootfs

import (
	"errors"
	"fmt"
	"os"

	"coffer/internal/oci/mountoption"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// OpenSources opens, in the parent, what the container's init cannot open: in
// a user namespace of its own it may lack the right to reach the sources of
// bind mounts and the root; and an ID-mapped mount can be made by the owner of
// the file system only. userns is the container's user namespace, nil if it
// has none of its own. Each file is a detached copy of a mount tree, to be
// donated to init and passed as Config.Sources under the same key (the index
// in spec.Mounts, or RootSource). It is called always, and returns nothing
// where init can help itself, as it must if the caller has no privileges
// (rootless).
func OpenSources(spec *specs.Spec, bundle string, userns *os.File) (map[int]*os.File, error) {
	o := sourceOpener{spec: spec, bundle: bundle, userns: userns, files: map[int]*os.File{}}
	if err := o.open(); err != nil {
		closeSources(o.files)
		return nil, err
	}
	return o.files, nil
}

func closeSources(files map[int]*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// sourceOpener is one OpenSources.
type sourceOpener struct {
	spec   *specs.Spec
	bundle string
	userns *os.File
	files  map[int]*os.File
}

func (s *sourceOpener) open() error {
	all := s.userns != nil && canCopyMounts()
	if all {
		if err := s.add(RootSource, s.spec.Root.Path, true, nil); err != nil {
			return fmt.Errorf("root.path %q: %w", s.spec.Root.Path, err)
		}
	}
	for i := range s.spec.Mounts {
		m := &s.spec.Mounts[i]
		o := mountoption.Parse(m.Options)
		bind := (o.Bind || m.Type == "bind") && !o.Remount
		mapped := isMapped(m, &o)
		if !bind || !all && !mapped {
			continue
		}
		var idmap *idMapping
		if mapped {
			// Without either option a mapping goes as deep as the bind mount.
			recursive := o.IDMapRecursive || !o.IDMap && o.Recursive
			idmap = &idMapping{mount: m, container: s.userns, recursive: recursive}
		}
		if err := s.add(i, m.Source, o.Recursive, idmap); err != nil {
			return fmt.Errorf("%s: %w", mountName(i, m), err)
		}
	}
	return nil
}

// canCopyMounts reports whether the caller may copy mounts to donate: it has
// CAP_SYS_ADMIN over its mount namespace, and the system calls.
func canCopyMounts() bool {
	fd, err := cloneTree(unix.AT_FDCWD, "/", false)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}) == nil
}

// add opens one source.
func (s *sourceOpener) add(key int, name string, recursive bool, idmap *idMapping) error {
	fd, err := openSource(s.bundle, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	tree, err := cloneTree(fd, "", recursive)
	if err != nil {
		return err
	}
	s.files[key] = os.NewFile(uintptr(tree), name)
	// The copy is a peer of the host's mount (isolatePropagation says when it
	// may stay one). Whoever is root in a user namespace only must not mount
	// things on the host by way of it.
	p, err := rootPropagation(linuxOf(s.spec))
	if err != nil {
		return err
	}
	if s.userns != nil || p&unix.MS_SHARED == 0 {
		if err := setAttributes(tree, &mountoption.Attributes{Propagation: []uint{unix.MS_SLAVE | unix.MS_REC}}); err != nil {
			return err
		}
	}
	if idmap == nil {
		return nil
	}
	return idmap.apply(tree)
}

// idMapping is what a mount's IDs are mapped by.
type idMapping struct {
	mount     *specs.Mount
	container *os.File // the container's user namespace, or nil
	recursive bool
}

// MapIDs maps the IDs of the files of a detached mount: what is ContainerID on
// disk is seen as HostID. Only root of the host can.
func MapIDs(tree int, uids, gids []specs.LinuxIDMapping) error {
	m := &idMapping{mount: &specs.Mount{UIDMappings: uids, GIDMappings: gids}}
	return m.apply(tree)
}

// apply maps the IDs of a detached mount (mount_setattr(2), "ID-mapped
// mounts").
func (m *idMapping) apply(tree int) error {
	userns, err := m.namespace()
	if err != nil {
		return fmt.Errorf("mapping its IDs: %w", err)
	}
	defer userns.Close()
	flags := uint(unix.AT_EMPTY_PATH)
	if m.recursive {
		flags |= unix.AT_RECURSIVE
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())}
	if err := unix.MountSetattr(tree, "", flags, &attr); err != nil {
		return fmt.Errorf("mapping its IDs: %w", because(err,
			cure{unix.EINVAL, "the source's file system, or one that is mounted below it, cannot be ID-mapped: take idmap for ridmap, or another source"},
			cure{unix.EPERM, "the source is mapped already, or its file system belongs to another user namespace; the runtime must be root on the host"},
			cure{unix.ENOSYS, "this needs Linux 5.12 or later"}))
	}
	return nil
}

// namespace returns a user namespace with the mapping: the container's, or
// one made for the mount's own.
func (m *idMapping) namespace() (*os.File, error) {
	uids, gids := m.mount.UIDMappings, m.mount.GIDMappings
	switch {
	case len(uids) > 0 && len(gids) > 0:
		return userNamespace(uids, gids)
	case len(uids) > 0 || len(gids) > 0:
		return nil, errors.New("uidMappings and gidMappings must be given both, or neither for the container's own")
	case m.container == nil:
		return nil, errors.New("there is no mapping: give uidMappings and gidMappings, or the container a user namespace")
	}
	fd, err := unix.FcntlInt(m.container.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), m.container.Name()), nil
}
