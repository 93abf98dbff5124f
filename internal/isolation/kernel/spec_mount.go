package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coffer/internal/oci/mountoption"
	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// guestTypes are the types of file system that a spec may ask the guest's kernel
// for, each with those options that it takes; nil are any, for the kernel to
// check.
var guestTypes = map[string]func(option string) bool{
	"tmpfs":   nil,
	"proc":    noOption,
	"sysfs":   noOption,
	"mqueue":  noOption,
	"cgroup":  noOption,
	"cgroup2": noOption,
	// What is so anyway: there is one instance for the whole sandbox.
	"devpts": func(o string) bool {
		return slices.Contains([]string{"newinstance", "ptmxmode=0666", "ptmxmode=666", "mode=0620", "mode=620", "gid=5"}, o)
	},
}

func noOption(string) bool { return false }

// typeOverlay is the one type that the host's kernel mounts: its layers are
// directories of the host.
const typeOverlay = "overlay"

// isBind reports whether a mount shows files of the host.
func isBind(m *specs.Mount, o *mountoption.Options) bool { return m.Type == "bind" || o.Bind }

// checkMount says what of a mount cannot be honoured.
func checkMount(field string, m *specs.Mount) error {
	o := mountoption.Parse(m.Options)
	switch {
	case len(m.UIDMappings)+len(m.GIDMappings) > 0 || o.IDMap:
		return fmt.Errorf("%s: the kernel wall maps no owners of files by mount: use the process wall, or leave uidMappings, gidMappings and idmap out", field)
	case o.Remount:
		return fmt.Errorf("%s.options: remount changes a mount of the host's, which the kernel wall has no part in", field)
	case filepath.Join("/", m.Destination) == "/":
		return fmt.Errorf("%s.destination: it would cover the root: say in root.path what the root is", field)
	case o.CopyUp && m.Type != "tmpfs":
		return fmt.Errorf("%s.options: tmpcopyup is for tmpfs", field)
	case isBind(m, &o):
		return nil
	case m.Type == typeOverlay:
		return nil
	}
	takes, known := guestTypes[m.Type]
	if !known {
		return fmt.Errorf("%s.type: the kernel of this wall has no file system %q to mount from a spec: it has bind, overlay, %s", field, m.Type, strings.Join(sortedKeys(guestTypes), ", "))
	}
	for _, option := range o.Data {
		if takes != nil && !takes(option) {
			return fmt.Errorf("%s.options: the kernel of this wall does not take %q for %s", field, option, m.Type)
		}
	}
	return nil
}

// translateMounts describes the spec's mounts and opens what they show.
func translateMounts(list []specs.Mount, bundle string, t *trees) error {
	for i := range list {
		field := fmt.Sprintf("mounts[%d]", i)
		m, err := translateMount(field, &list[i], bundle, t)
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		t.files.Mounts = append(t.files.Mounts, *m)
	}
	return t.finish()
}

func translateMount(field string, m *specs.Mount, bundle string, t *trees) (*boot.FileMount, error) {
	o := mountoption.Parse(m.Options)
	d := &boot.FileMount{
		Field: field, Destination: filepath.Join("/", m.Destination), Type: m.Type, Source: m.Source, CopyUp: o.CopyUp,
		RecursiveSet: mountFlags(o.RecursiveSet), RecursiveClear: mountFlags(o.RecursiveClear),
		Data: strings.Join(o.Data, ","),
	}
	for _, p := range o.Propagation {
		d.Propagation = append(d.Propagation, uint64(p))
	}
	if d.Source == "" {
		d.Source = m.Type
	}
	d.Set = mountFlags(o.Set)
	if !isBind(m, &o) && m.Type != typeOverlay {
		return d, nil
	}
	d.Type = ""
	a := access{recursive: o.Recursive, follow: follows(o.Propagation), set: o.Set & timeAttributes, clear: o.Clear & unix.MOUNT_ATTR__ATIME}
	var err error
	if m.Type == typeOverlay {
		a.write = d.Set&unix.MS_RDONLY == 0
		d.Data = ""
		d.Tree, err = t.overlay(strings.Join(o.Data, ","), a)
		return d, err
	}
	source := m.Source
	if !filepath.IsAbs(source) {
		source = filepath.Join(bundle, source)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(source, &fs); err == unix.ENOENT {
		return nil, fmt.Errorf("source %s cannot be opened: %w (it must exist on the host: make it, or correct the path)", source, err)
	} else if err != nil {
		return nil, fmt.Errorf("source %s cannot be opened: %w", source, err)
	}
	// A bind mount keeps what its source has.
	d.Set |= uint64(fs.Flags) & keptFlags &^ mountFlags(o.Clear)
	a.write = (d.Set|d.RecursiveSet)&unix.MS_RDONLY == 0
	st, err := os.Stat(source)
	switch {
	case err != nil:
	case st.IsDir():
		d.Tree, err = t.directory(source, a)
	case st.Mode().IsRegular():
		d.Tree, d.File, err = t.file(source, a)
	default:
		err = fmt.Errorf("source %s is %s: the kernel wall shows directories and regular files of the host only", source, kindOf(st.Mode()))
	}
	return d, err
}

// kindOf says in words what is neither a directory nor a regular file.
func kindOf(mode os.FileMode) string {
	switch {
	case mode&os.ModeSocket != 0:
		return "a socket"
	case mode&os.ModeNamedPipe != 0:
		return "a pipe"
	case mode&os.ModeDevice != 0:
		return "a device"
	}
	return "neither a directory nor a regular file"
}

// keptFlags are the flags of a mount that a bind mount of it has too, those for
// which statfs(2) has the numbers of mount(2).
const keptFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME

// timeAttributes are those of access times, which the host keeps.
const timeAttributes = unix.MOUNT_ATTR__ATIME | unix.MOUNT_ATTR_NODIRATIME

// follows reports whether mounts that are made on the host later shall appear.
func follows(propagation []uint) bool {
	n := len(propagation)
	return n > 0 && propagation[n-1]&(unix.MS_SHARED|unix.MS_SLAVE) != 0
}

// mountFlags turns MOUNT_ATTR_* into the MS_* that the guest's kernel keeps. To
// clear the attributes of access times is to clear all of them.
func mountFlags(attr uint64) (flags uint64) {
	for _, pair := range [...]struct{ attr, flag uint64 }{
		{unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY}, {unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID}, {unix.MOUNT_ATTR_NODEV, unix.MS_NODEV},
		{unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC}, {unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME},
		{unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MS_NOSYMFOLLOW},
	} {
		if attr&pair.attr != 0 {
			flags |= pair.flag
		}
	}
	switch attr & unix.MOUNT_ATTR__ATIME {
	case unix.MOUNT_ATTR__ATIME:
		flags |= unix.MS_NOATIME | unix.MS_STRICTATIME | unix.MS_RELATIME
	case unix.MOUNT_ATTR_NOATIME:
		flags |= unix.MS_NOATIME
	case unix.MOUNT_ATTR_STRICTATIME:
		flags |= unix.MS_STRICTATIME
	}
	return flags
}
