package oci

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"coffer/internal/oci/linuxname"
	"coffer/internal/oci/mountoption"
	"coffer/internal/seccomp/sysno"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// namespaceTypes are those that the specification defines.
var namespaceTypes = []specs.LinuxNamespaceType{
	specs.CgroupNamespace, specs.IPCNamespace, specs.MountNamespace, specs.NetworkNamespace,
	specs.PIDNamespace, specs.TimeNamespace, specs.UserNamespace, specs.UTSNamespace,
}

func checkLinux(p *problems, linux *specs.Linux) {
	checkNamespaces(p, linux)
	checkIDMap(p, "linux.uidMappings", linux.UIDMappings)
	checkIDMap(p, "linux.gidMappings", linux.GIDMappings)
	checkTimeOffsets(p, linux)
	checkDevices(p, linux.Devices)
	checkNetDevices(p, linux)
	checkSeccomp(p, linux.Seccomp)
	if r := linux.RootfsPropagation; r != "" {
		if _, ok := mountoption.Propagation(r); !ok {
			p.add("linux.rootfsPropagation", "%q is not known: it is shared, slave, private or unbindable, with an r before it perhaps", r)
		}
	}
	for i, path := range linux.MaskedPaths {
		checkPath(p, fmt.Sprintf("linux.maskedPaths[%d]", i), path)
	}
	for i, path := range linux.ReadonlyPaths {
		checkPath(p, fmt.Sprintf("linux.readonlyPaths[%d]", i), path)
	}
	if per := linux.Personality; per != nil {
		if _, ok := linuxname.Personality(string(per.Domain)); !ok {
			p.add("linux.personality.domain", "%q is not known: it is LINUX or LINUX32", per.Domain)
		}
		if len(per.Flags) > 0 {
			p.add("linux.personality.flags", "has %q: the specification defines none so far", per.Flags[0])
		}
	}
}

func checkNamespaces(p *problems, linux *specs.Linux) {
	seen := make(map[specs.LinuxNamespaceType]bool)
	for i, ns := range linux.Namespaces {
		field := fmt.Sprintf("linux.namespaces[%d]", i)
		switch {
		case !slices.Contains(namespaceTypes, ns.Type):
			p.add(field+".type", "%q is not known: it is one of %s", ns.Type, joinTypes())
		case seen[ns.Type]:
			p.add(field+".type", "%s was there before (malformed spec file: duplicated ns): remove one of them", ns.Type)
		case ns.Path != "" && checkPath(p, field+".path", ns.Path):
			if _, err := os.Stat(ns.Path); err != nil {
				p.add(field+".path", "cannot be joined (%v): leave it out for a new %s namespace", err, ns.Type)
			}
		}
		seen[ns.Type] = true
	}
	user, hasUser := namespace(linux, specs.UserNamespace)
	mapped := len(linux.UIDMappings) > 0 || len(linux.GIDMappings) > 0
	switch {
	case mapped && !hasUser:
		p.add("linux.uidMappings and linux.gidMappings", "need a user namespace: add one to linux.namespaces, or remove them")
	case hasUser && user.Path == "" && len(linux.UIDMappings) == 0:
		p.add("linux.uidMappings", "is empty: a new user namespace needs to know which users of the host its own are")
	case hasUser && user.Path == "" && len(linux.GIDMappings) == 0:
		p.add("linux.gidMappings", "is empty: a new user namespace needs to know which groups of the host its own are")
	}
}

func joinTypes() string {
	var names []string
	for _, t := range namespaceTypes {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

// namespace finds the entry of one type.
func namespace(linux *specs.Linux, t specs.LinuxNamespaceType) (specs.LinuxNamespace, bool) {
	for _, ns := range linux.Namespaces {
		if ns.Type == t {
			return ns, true
		}
	}
	return specs.LinuxNamespace{}, false
}

func checkHostNames(p *problems, spec *specs.Spec, linux *specs.Linux) {
	_, own := namespace(linux, specs.UTSNamespace)
	for _, n := range []struct{ field, value string }{{"hostname", spec.Hostname}, {"domainname", spec.Domainname}} {
		switch {
		case n.value == "":
		case !own:
			p.add(n.field, "cannot be set without a uts namespace, since it would be the host's own: add one to linux.namespaces, or remove it (unable to set %s without a private UTS namespace)", n.field)
		case len(n.value) > maxHostName || strings.IndexByte(n.value, 0) >= 0:
			p.add(n.field, "%q is not a name that the kernel takes: at most %d bytes, none of them NUL", n.value, maxHostName)
		}
	}
}

// maxHostName is __NEW_UTS_LEN of uname(2).
const maxHostName = 64

// checkIDMap refuses empty, overflowing and overlapping ranges, which
// user_namespaces(7) does not take either, without saying why.
func checkIDMap(p *problems, field string, ranges []specs.LinuxIDMapping) {
	for i, r := range ranges {
		at := fmt.Sprintf("%s[%d]", field, i)
		last := func(first uint32) uint64 { return uint64(first) + uint64(r.Size) - 1 }
		switch {
		case r.Size == 0:
			p.add(at+".size", "is 0: it must be at least 1")
			continue
		case last(r.ContainerID) >= noID || last(r.HostID) >= noID:
			p.add(at, "goes beyond the largest ID, %d", uint32(noID-1))
			continue
		}
		for j, o := range ranges[:i] {
			if overlap(r.ContainerID, r.Size, o.ContainerID, o.Size) || overlap(r.HostID, r.Size, o.HostID, o.Size) {
				p.add(at, "overlaps with range %d: an ID is mapped once", j)
				break
			}
		}
	}
}

// noID is the number that stands for no user or group, (uid_t)-1.
const noID = 1<<32 - 1

func overlap(a, an, b, bn uint32) bool {
	return uint64(a) < uint64(b)+uint64(bn) && uint64(b) < uint64(a)+uint64(an)
}

func checkTimeOffsets(p *problems, linux *specs.Linux) {
	if len(linux.TimeOffsets) == 0 {
		return
	}
	switch ns, own := namespace(linux, specs.TimeNamespace); {
	case !own:
		p.add("linux.timeOffsets", "needs a time namespace: add one to linux.namespaces, or remove it")
	case ns.Path != "":
		p.add("linux.timeOffsets", "cannot be set for a time namespace that exists: remove it, or the namespace's path")
	}
	for _, clock := range slices.Sorted(maps.Keys(linux.TimeOffsets)) {
		field := fmt.Sprintf("linux.timeOffsets[%q]", clock)
		if clock != "monotonic" && clock != "boottime" {
			p.add(field, "is for a clock that cannot be moved: it is monotonic or boottime")
		}
		if o := linux.TimeOffsets[clock]; o.Nanosecs >= 1e9 {
			p.add(field+".nanosecs", "is %d: it is less than 1000000000", o.Nanosecs)
		}
	}
}

func checkDevices(p *problems, devices []specs.LinuxDevice) {
	seen := make(map[string]specs.LinuxDevice)
	for i, d := range devices {
		field := fmt.Sprintf("linux.devices[%d]", i)
		if !checkPath(p, field+".path", d.Path) {
			continue
		}
		before, twice := seen[d.Path]
		switch {
		case !slices.Contains([]string{"c", "u", "b", "p"}, d.Type):
			p.add(field+".type", "%q (%s) is not known: it is c or u, b, or p", d.Type, d.Path)
		case d.Type != "p" && (d.Major < 0 || d.Minor < 0 || d.Major > maxMajor || d.Minor > maxMinor):
			p.add(field, "(%s) has the number %d:%d, which no device has", d.Path, d.Major, d.Minor)
		case twice && (before.Type != d.Type || before.Major != d.Major || before.Minor != d.Minor):
			p.add(field+".path", "%s was there before as another device: remove one of them", d.Path)
		}
		if d.FileMode != nil && *d.FileMode&^0o177777 != 0 {
			p.add(field+".fileMode", "(%s) is %#o, which is no file mode", d.Path, *d.FileMode)
		}
		seen[d.Path] = d
	}
}

// The largest numbers of a device: MINORBITS of the kernel is 20.
const maxMajor, maxMinor = 1<<12 - 1, 1<<20 - 1

func checkNetDevices(p *problems, linux *specs.Linux) {
	if len(linux.NetDevices) == 0 {
		return
	}
	if _, own := namespace(linux, specs.NetworkNamespace); !own {
		p.add("linux.netDevices", "needs a network namespace to move devices to: add one to linux.namespaces")
	}
	names := make(map[string]string)
	for _, host := range slices.Sorted(maps.Keys(linux.NetDevices)) {
		name := linux.NetDevices[host].Name
		if name == "" {
			name = host
		}
		field := fmt.Sprintf("linux.netDevices[%q]", host)
		for _, n := range []string{host, name} {
			if !deviceName(n) {
				p.add(field, "%q is no name of a network device: it has 1 to %d characters, no '/', ':' or white space, and is not . or ..", n, unix.IFNAMSIZ-1)
			}
		}
		if other, taken := names[name]; taken {
			p.add(field, "would have the name %q in the container, as %q has", name, other)
		}
		names[name] = host
	}
}

// deviceName reports whether Linux takes a name for a network device
// (dev_valid_name in net/core/dev.c).
func deviceName(n string) bool {
	return n != "" && len(n) < unix.IFNAMSIZ && n != "." && n != ".." && !strings.ContainsAny(n, "/: \t\n\v\f\r\x00")
}

// lets reports whether calls with an action are made.
func lets(a specs.LinuxSeccompAction) bool { return a == specs.ActAllow || a == specs.ActLog }

// warnUnknownCalls tells of names for which there is no call, in a rule that refuses what is
// let through otherwise: of one that is mistaken nobody would notice. Profiles that permit
// calls have names that are younger than we.
func warnUnknownCalls(field string, names []string) {
	unknown := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return sysno.Find(name) != nil })
	if len(unknown) > 0 {
		slog.Warn(fmt.Sprintf("%s: %s.names has what is no system call, so that the rule refuses none by it: %q", ConfigFile, field, unknown))
	}
}

// checkSeccomp checks what does not take a compiler of profiles.
func checkSeccomp(p *problems, s *specs.LinuxSeccomp) {
	if s == nil {
		return
	}
	if s.DefaultAction == "" {
		p.add("linux.seccomp.defaultAction", "is missing: it is SCMP_ACT_ERRNO or SCMP_ACT_ALLOW as a rule")
	}
	notifies := s.DefaultAction == specs.ActNotify
	if notifies {
		p.add("linux.seccomp.defaultAction", "is SCMP_ACT_NOTIFY: the call by which the listener is handed out would wait for it; name calls in linux.seccomp.syscalls")
	}
	for i, c := range s.Syscalls {
		field := fmt.Sprintf("linux.seccomp.syscalls[%d]", i)
		if len(c.Names) == 0 {
			p.add(field+".names", "is empty: it names the system calls that the rule is for")
		}
		if c.Action == "" {
			p.add(field+".action", "is missing")
		}
		if lets(s.DefaultAction) && !lets(c.Action) {
			warnUnknownCalls(field, c.Names)
		}
		for j, a := range c.Args {
			if a.Index > 5 {
				p.add(fmt.Sprintf("%s.args[%d].index", field, j), "is %d: a system call has the arguments 0 to 5", a.Index)
			}
		}
		if c.Action == specs.ActNotify {
			notifies = true
			if slices.Contains(c.Names, "write") {
				p.add(field, "has SCMP_ACT_NOTIFY for write, by which the listener is handed out: the container would wait for itself")
			}
		}
	}
	switch {
	case notifies && s.ListenerPath == "":
		p.add("linux.seccomp.listenerPath", "is missing: SCMP_ACT_NOTIFY needs the socket of whom to notify")
	case s.ListenerPath == "" && s.ListenerMetadata != "":
		p.add("linux.seccomp.listenerMetadata", "is for a listener, and linux.seccomp.listenerPath names none")
	}
}
