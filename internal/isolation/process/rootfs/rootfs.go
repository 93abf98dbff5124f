// Package rootfs makes a container's root file system: the mounts, devices,
// links and masks that its spec asks for, and the change of root itself.
//
// It works on descriptors. A path that the container could have a say in is
// resolved once, below the descriptor of the root, by openat2(2) with
// RESOLVE_IN_ROOT; what comes of it is mounted on, written to or made by
// descriptor. So a symbolic link that somebody puts in the way, before or
// meanwhile, leads to another place in the container at most.
//
// It needs Linux 5.8 and an unmasked openat2(2); recursive attributes and
// ID-mapped mounts need Linux 5.12. What a host lacks is an error, or done by
// mount(2) where that is no weaker.
//
// It knows nothing of processes: package process calls it from the
// container's init, in this order:
//
//	r, err := Prepare(cfg) // the old root is still there: createContainer hooks follow
//	r.Enter()              // now / is the container's
//	r.PTMX(), r.Console()  // if there is a terminal; sysctls are written too
//	r.Finish()             // read-only root, masks: nothing can be made any more
//	r.Close()
//
// All of it changes the calling process as a whole (root, working directory,
// umask for a moment), so nothing else may go on in it.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Config says which root file system to make.
type Config struct {
	// Spec has passed oci.Check; it is not changed.
	Spec *specs.Spec
	// Bundle is the bundle's absolute path: relative sources lie in it.
	Bundle string
	// Sources is what OpenSources returned in the parent. Prepare closes them.
	Sources map[int]*os.File
	// NoPivot moves the root over the old one instead of pivot_root(2), which
	// a root on the initial RAM file system refuses.
	NoPivot bool
}

// RootSource is the key of the container's root among the sources.
const RootSource = -1

// Root is a container's root file system while it is made.
type Root struct {
	cfg     *Config
	linux   *specs.Linux
	fd      int // O_PATH of the root of the container's root mount
	mounter mounter
	// mountLabel is the SELinux label of mounts; empty if they have none.
	mountLabel string
	late       []lateReadonly
	// kernels are the mounts that the spec has at /proc and /sys, by their paths.
	kernels map[string]int
}

// lateReadonly is a mount that becomes read-only when nothing more has to be
// made in it.
type lateReadonly struct {
	fd   int
	name string // for errors
}

// Prepare makes all mounts, devices and links below the container's root,
// which remains below the old root. The caller is in the container's
// namespaces, the cgroup namespace included, and in its cgroup, and alone in
// its process.
func Prepare(cfg *Config) (*Root, error) {
	defer closeSources(cfg.Sources)
	// Modes are meant as the spec has them.
	defer unix.Umask(unix.Umask(0))
	r := &Root{cfg: cfg, linux: linuxOf(cfg.Spec), fd: -1, mounter: newMounter()}
	if err := r.prepare(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Root) prepare() error {
	r.mountLabel = mountLabel(r.linux)
	if err := r.isolatePropagation(); err != nil {
		return err
	}
	if err := r.mountRoot(); err != nil {
		return fmt.Errorf("root.path %q: %w", r.cfg.Spec.Root.Path, err)
	}
	for i := range r.cfg.Spec.Mounts {
		m := &r.cfg.Spec.Mounts[i]
		if err := r.mount(i, m); err != nil {
			return fmt.Errorf("%s: %w", mountName(i, m), err)
		}
	}
	if r.ownDev() {
		return r.makeDev()
	}
	return nil
}

// mountName is how errors name a mount of the spec.
func mountName(i int, m *specs.Mount) string {
	return fmt.Sprintf("mounts[%d] %q", i, m.Destination)
}

// Close gives up the descriptors. It may be called at any time, more than once.
func (r *Root) Close() {
	for _, l := range r.late {
		unix.Close(l.fd)
	}
	r.late = nil
	for _, fd := range r.kernels {
		unix.Close(fd)
	}
	r.kernels = nil
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
}

// hostPath is the path on the host that the spec means by one that may be
// relative to the bundle.
func hostPath(bundle, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(bundle, name)
}

// linuxOf is the Linux part of a spec, which it may lack.
func linuxOf(spec *specs.Spec) *specs.Linux {
	if spec.Linux == nil {
		return &specs.Linux{}
	}
	return spec.Linux
}

// hasNamespace reports whether the spec asks for a namespace of a type, a new
// one or an old one.
func hasNamespace(spec *specs.Spec, kind specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(linuxOf(spec).Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

// keep takes a mount that was made at a destination. Finish finds what is in /proc
// and /sys by these and not by their paths: whoever shares the root file system
// could have renamed them meanwhile, and taken for missing what was to be masked.
func (r *Root) keep(dest string, mount int) error {
	if dest != "/proc" && dest != "/sys" {
		return unix.Close(mount)
	}
	if before, ok := r.kernels[dest]; ok {
		unix.Close(before)
	}
	if r.kernels == nil {
		r.kernels = map[string]int{}
	}
	r.kernels[dest] = mount
	return nil
}

// MakeDirectory makes a directory in the container, and those that it lies in, if
// it is missing. Links of /proc to what processes have open lead nowhere: that may
// lie outside.
func (r *Root) MakeDirectory(name string) error {
	fd, err := makeFile(r.fd, name, true, true)
	if err != nil {
		return because(err, cure{unix.ELOOP, "symbolic links lead round in a circle, or to what a process has open"})
	}
	return unix.Close(fd)
}

// place finds or makes where something is mounted: a directory or a file.
func (r *Root) place(name string, dir bool, links linked) (place, error) {
	fd, err := makeFile(r.fd, name, dir, links)
	if err != nil {
		return place{}, fmt.Errorf("finding the destination: %w", because(err,
			cure{unix.ELOOP, "a symbolic link is not allowed here, or they lead round in a circle"},
			cure{unix.ENOTDIR, "a part of the path is not a directory"},
			cure{unix.EACCES, "the container's root user may not go there"}))
	}
	isDir, err := isDir(fd)
	switch {
	case err != nil:
	case isDir && !dir:
		err = errors.New("finding the destination: it is a directory, but what is mounted is none")
	case dir && !isDir:
		err = errors.New("finding the destination: a directory cannot be mounted on what is none")
	default:
		err = checkNotInProc(name, fd)
	}
	if err != nil {
		return place{}, closeIf(fd, err)
	}
	return place{fd: fd, again: func() (int, error) { return lookup(r.fd, name, pathFlags, 0) }}, nil
}
