package procfs

import (
	"strconv"
	"strings"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// mountFlags are the options that a mount's flags make, in Linux's order.
var mountFlags = []struct {
	flag uint64
	name string
}{
	{unix.MS_NOSUID, "nosuid"}, {unix.MS_NODEV, "nodev"}, {unix.MS_NOEXEC, "noexec"},
	{unix.MS_NOATIME, "noatime"}, {unix.MS_NODIRATIME, "nodiratime"}, {unix.MS_RELATIME, "relatime"},
	{unix.MS_NOSYMFOLLOW, "nosymfollow"},
}

// mountOptions are "rw" or "ro" and what follows.
func mountOptions(i *vfs.MountInfo) string {
	var b strings.Builder
	b.WriteString(access(i))
	for _, f := range mountFlags {
		if i.Flags&f.flag != 0 {
			b.WriteString("," + f.name)
		}
	}
	return b.String()
}

func access(i *vfs.MountInfo) string {
	if i.Flags&unix.MS_RDONLY != 0 {
		return "ro"
	}
	return "rw"
}

func withOptions(s, more string) string {
	if more == "" {
		return s
	}
	return s + "," + more
}

// escape writes a field as getmntent(3) reads it back.
func escape(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\t', '\n', '\\', '#':
			b = append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		default:
			b = append(b, c)
		}
	}
	return b
}

// mountList is what the subject's root lets it see.
func (s subject) mountList() ([]vfs.MountInfo, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	_, _, fs := t.Resources()
	if fs == nil || fs.Mounts() == nil {
		return nil, unix.EINVAL
	}
	root := fs.Root()
	if !root.Valid() {
		return nil, unix.EINVAL
	}
	defer root.DecRef()
	return fs.Mounts().Mounts(root), nil
}

// mounts renders /proc/PID/mounts in the format of fstab(5).
func mounts(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	list, err := s.mountList()
	if err != nil {
		return nil, err
	}
	for n := range list {
		i := &list[n]
		b = append(escape(b, source(i)), ' ')
		b = append(escape(b, i.Point), ' ')
		b = append(escape(b, i.Type), ' ')
		b = append(b, withOptions(mountOptions(i), i.Options)...)
		b = append(b, " 0 0\n"...)
	}
	return b, nil
}

// source is what was mounted, "none" if nothing was named.
func source(i *vfs.MountInfo) string {
	if i.Source == "" {
		return "none"
	}
	return i.Source
}

// mountinfo renders /proc/PID/mountinfo (proc_pid_mountinfo(5)).
func mountinfo(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	list, err := s.mountList()
	if err != nil {
		return nil, err
	}
	for n := range list {
		i := &list[n]
		b = append(strconv.AppendInt(b, int64(i.ID), 10), ' ')
		b = append(strconv.AppendInt(b, int64(i.ParentID), 10), ' ')
		b = append(strconv.AppendUint(b, uint64(i.DevMajor), 10), ':')
		b = append(strconv.AppendUint(b, uint64(i.DevMinor), 10), ' ')
		b = append(escape(b, i.Root), ' ')
		b = append(escape(b, i.Point), ' ')
		b = append(b, mountOptions(i)...)
		b = appendPropagation(b, i)
		b = append(b, " - "...)
		b = append(escape(b, i.Type), ' ')
		b = append(escape(b, source(i)), ' ')
		b = append(b, withOptions(access(i), i.Options)...)
		b = append(b, '\n')
	}
	return b, nil
}

// appendPropagation appends mountinfo's optional fields.
func appendPropagation(b []byte, i *vfs.MountInfo) []byte {
	for _, f := range [...]struct {
		name  string
		group int
	}{{" shared:", i.PeerGroup}, {" master:", i.Master}, {" propagate_from:", i.From}} {
		if f.group != 0 {
			b = strconv.AppendInt(append(b, f.name...), int64(f.group), 10)
		}
	}
	if i.Unbindable {
		b = append(b, " unbindable"...)
	}
	return b
}

// mountstats renders /proc/PID/mountstats.
func mountstats(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	list, err := s.mountList()
	if err != nil {
		return nil, err
	}
	for n := range list {
		i := &list[n]
		b = append(b, "device "...)
		b = escape(b, source(i))
		b = append(b, " mounted on "...)
		b = escape(b, i.Point)
		b = append(b, " with fstype "...)
		b = append(escape(b, i.Type), '\n')
	}
	return b, nil
}
