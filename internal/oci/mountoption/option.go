// Package mountoption reads the options of mounts in an OCI spec (runtime-spec,
// "Linux mount options"), for all walls alike. It knows nothing of what is
// mounted.
package mountoption

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Attributes is how a mount shall be, whatever is mounted.
type Attributes struct {
	// Set and Clear are MOUNT_ATTR_* of the mount alone; RecursiveSet and
	// RecursiveClear those of all mounts below it too. What is in neither stays
	// as it is: a bind mount keeps what its source has.
	Set, Clear                   uint64
	RecursiveSet, RecursiveClear uint64
	// Propagation is what mount_namespaces(7) calls propagation types, as MS_*
	// with or without MS_REC, in the order asked for.
	Propagation []uint
}

// Options is what the strings of specs.Mount.Options mean together.
type Options struct {
	Attributes
	Bind, Recursive bool // "bind" or "rbind"; "rbind"
	Remount         bool
	CopyUp          bool // "tmpcopyup"
	IDMap           bool // "idmap" or "ridmap"
	IDMapRecursive  bool
	// Super is the flags of the file system (MS_*), as against those of the
	// mount. A bind mount leaves them as they are, as mount(8) does.
	Super uintptr
	// Data is the file system's own options, key=value or key, one each.
	Data []string
}

// relatime is the default way of updating times of access, which as an
// attribute is the absence of the other ways.
const relatime = unix.MOUNT_ATTR_RELATIME

// attributeOptions is each option that sets or clears an attribute of a mount.
// With an "r" before it, it does so on all mounts below too (runtime-spec,
// "Linux mount options").
var attributeOptions = map[string]struct {
	attribute uint64
	clear     bool
}{
	"ro":          {unix.MOUNT_ATTR_RDONLY, false},
	"rw":          {unix.MOUNT_ATTR_RDONLY, true},
	"nosuid":      {unix.MOUNT_ATTR_NOSUID, false},
	"suid":        {unix.MOUNT_ATTR_NOSUID, true},
	"nodev":       {unix.MOUNT_ATTR_NODEV, false},
	"dev":         {unix.MOUNT_ATTR_NODEV, true},
	"noexec":      {unix.MOUNT_ATTR_NOEXEC, false},
	"exec":        {unix.MOUNT_ATTR_NOEXEC, true},
	"nodiratime":  {unix.MOUNT_ATTR_NODIRATIME, false},
	"diratime":    {unix.MOUNT_ATTR_NODIRATIME, true},
	"nosymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, false},
	"symfollow":   {unix.MOUNT_ATTR_NOSYMFOLLOW, true},
}

// atimeOptions is each option that chooses when times of access are updated.
// Without noatime and strictatime Linux always updates relatively, so to give
// up any choice is to choose that.
var atimeOptions = map[string]uint64{
	"noatime":       unix.MOUNT_ATTR_NOATIME,
	"strictatime":   unix.MOUNT_ATTR_STRICTATIME,
	"relatime":      relatime,
	"atime":         relatime,
	"norelatime":    relatime,
	"nostrictatime": relatime,
}

// superOptions is each option that sets or clears a flag of the file system.
var superOptions = map[string]struct {
	flag  uintptr
	clear bool
}{
	"sync":       {unix.MS_SYNCHRONOUS, false},
	"async":      {unix.MS_SYNCHRONOUS, true},
	"dirsync":    {unix.MS_DIRSYNC, false},
	"mand":       {unix.MS_MANDLOCK, false},
	"nomand":     {unix.MS_MANDLOCK, true},
	"lazytime":   {unix.MS_LAZYTIME, false},
	"nolazytime": {unix.MS_LAZYTIME, true},
	"iversion":   {unix.MS_I_VERSION, false},
	"noiversion": {unix.MS_I_VERSION, true},
	"silent":     {unix.MS_SILENT, false},
	"loud":       {unix.MS_SILENT, true},
}

// propagations is each option, and each value of linux.rootfsPropagation, that
// chooses a propagation type.
var propagations = map[string]uint{
	"private":     unix.MS_PRIVATE,
	"shared":      unix.MS_SHARED,
	"slave":       unix.MS_SLAVE,
	"unbindable":  unix.MS_UNBINDABLE,
	"rprivate":    unix.MS_PRIVATE | unix.MS_REC,
	"rshared":     unix.MS_SHARED | unix.MS_REC,
	"rslave":      unix.MS_SLAVE | unix.MS_REC,
	"runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// otherOptions is each option that has a field of its own in options, or, if
// it is nil, nothing to say: it is what is so anyway, or is for who reads
// fstab(5).
var otherOptions = map[string]func(*Options){
	"bind":      func(o *Options) { o.Bind, o.Recursive = true, false },
	"rbind":     func(o *Options) { o.Bind, o.Recursive = true, true },
	"remount":   func(o *Options) { o.Remount = true },
	"tmpcopyup": func(o *Options) { o.CopyUp = true },
	"idmap":     func(o *Options) { o.IDMap, o.IDMapRecursive = true, false },
	"ridmap":    func(o *Options) { o.IDMap, o.IDMapRecursive = true, true },
	"defaults":  nil,
	"auto":      nil,
	"noauto":    nil,
	"nouser":    nil,
	"_netdev":   nil,
}

// Propagation is the propagation type that a name stands for, as MS_* with or
// without MS_REC: an option of a mount, or linux.rootfsPropagation.
func Propagation(name string) (flags uint, ok bool) {
	flags, ok = propagations[name]
	return flags, ok
}

// Names lists the options of mounts that are understood here, sorted;
// others are passed to the file system.
func Names() []string {
	names := slices.Collect(maps.Keys(superOptions))
	names = slices.AppendSeq(names, maps.Keys(propagations))
	names = slices.AppendSeq(names, maps.Keys(otherOptions))
	for name := range attributeOptions {
		names = append(names, name, "r"+name)
	}
	for name := range atimeOptions {
		names = append(names, name, "r"+name)
	}
	slices.Sort(names)
	return names
}

// Parse reads a mount's options. Of two that contradict each other the
// later holds, as with mount(8). None is wrong by itself: what is not known is
// the file system's.
func Parse(list []string) Options {
	var o Options
	for _, name := range list {
		if !o.attribute(name) && !o.other(name) {
			o.Data = append(o.Data, splitData(name)...)
		}
	}
	return o
}

// attribute takes an option if it is one of a mount's attributes.
func (a *Attributes) attribute(name string) bool {
	set, clear := &a.Set, &a.Clear
	base := name
	if rest, ok := strings.CutPrefix(name, "r"); ok && isAttribute(rest) {
		base = rest
		set, clear = &a.RecursiveSet, &a.RecursiveClear
	}
	if mode, ok := atimeOptions[base]; ok {
		*set = *set&^unix.MOUNT_ATTR__ATIME | mode
		*clear |= unix.MOUNT_ATTR__ATIME
		return true
	}
	row, ok := attributeOptions[base]
	switch {
	case !ok:
		return false
	case row.clear:
		*set &^= row.attribute
		*clear |= row.attribute
	default:
		*set |= row.attribute
		*clear &^= row.attribute
	}
	return true
}

// Alone is the attributes of a mount that has nothing below it, as a new file
// system: those of all mounts below are its own.
func (a *Attributes) Alone() Attributes {
	return Attributes{
		Set:         a.Set&^a.RecursiveClear | a.RecursiveSet,
		Clear:       a.Clear&^a.RecursiveSet | a.RecursiveClear,
		Propagation: a.Propagation,
	}
}

// isAttribute reports whether an option is one that may have an "r" before it.
func isAttribute(name string) bool {
	_, attribute := attributeOptions[name]
	_, atime := atimeOptions[name]
	return attribute || atime
}

// other takes an option if it is known and no attribute.
func (o *Options) other(name string) bool {
	if row, ok := superOptions[name]; ok {
		o.Super |= row.flag
		if row.clear {
			o.Super &^= row.flag
		}
		return true
	}
	if flags, ok := propagations[name]; ok {
		o.Propagation = append(o.Propagation, flags)
		return true
	}
	f, ok := otherOptions[name]
	if f != nil {
		f(o)
	}
	// Options that begin so are by mount(8)'s rule nobody's but their writer's.
	return ok || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-")
}

// splitData splits options of a file system at commas that are not within
// double quotes, as LSMs' labels have them: context="a:b:c:s0:c1,c2".
func splitData(s string) []string {
	var list []string
	quoted := false
	from := 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i < len(s) && s[i] == '"':
			quoted = !quoted
		case i == len(s) || s[i] == ',' && !quoted:
			if i > from {
				list = append(list, s[from:i])
			}
			from = i + 1
		}
	}
	return list
}

// HasKey reports whether a file system's options set key.
func HasKey(data []string, key string) bool {
	return slices.ContainsFunc(data, func(d string) bool {
		return d == key || strings.HasPrefix(d, key+"=")
	})
}
