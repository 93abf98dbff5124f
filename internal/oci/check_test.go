package oci

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// template is a configuration that passes, to be broken.
func template(t *testing.T) *specs.Spec {
	t.Helper()
	spec := Template(false)
	spec.Root.Path = t.TempDir()
	return spec
}

// TestContradictions: each is told by the name of its field.
func TestContradictions(t *testing.T) {
	mask, adj, zero := uint32(0o1000), 1001, 0
	for _, c := range []struct {
		want  string // nothing if it passes
		spoil func(*specs.Spec)
	}{
		{"", func(s *specs.Spec) {}},
		{"root is missing", func(s *specs.Spec) { s.Root = nil }},
		{"root.path is missing", func(s *specs.Spec) { s.Root.Path = "" }},
		{"root.path cannot be used", func(s *specs.Spec) { s.Root.Path += "/nowhere" }},
		{"is not a directory", func(s *specs.Spec) { s.Root.Path = "/proc/self/status" }},
		{"process is missing", func(s *specs.Spec) { s.Process = nil }},
		{"process.args is empty", func(s *specs.Spec) { s.Process.Args = nil }},
		{"process.args[0] is an empty word", func(s *specs.Spec) { s.Process.Args[0] = "" }},
		{"process.args[0] \"a\\x00\" has a NUL byte", func(s *specs.Spec) { s.Process.Args[0] = "a\x00" }},
		{"process.cwd is missing", func(s *specs.Spec) { s.Process.Cwd = "" }},
		{`process.cwd "tmp" is not an absolute path`, func(s *specs.Spec) { s.Process.Cwd = "tmp" }},
		{`process.env[1] "B" has no '='`, func(s *specs.Spec) { s.Process.Env = []string{"A=", "B"} }},
		{`process.env[0] "=B" has no name`, func(s *specs.Spec) { s.Process.Env = []string{"=B"} }},
		{"process.user.umask is 01000", func(s *specs.Spec) { s.Process.User.Umask = &mask }},
		{"process.oomScoreAdj is 1001", func(s *specs.Spec) { s.Process.OOMScoreAdj = &adj }},
		{"process.ioPriority cannot be set", func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Priority: 8} }},
		{"process.consoleSize is 99999x1", func(s *specs.Spec) { s.Process.ConsoleSize = &specs.Box{Height: 99999, Width: 1} }},
		{`process.rlimits[0].type "NOFILE" is not a limit`, func(s *specs.Spec) { s.Process.Rlimits[0].Type = "NOFILE" }},
		{"process.rlimits[1].type RLIMIT_NOFILE was set before", func(s *specs.Spec) { s.Process.Rlimits = append(s.Process.Rlimits, s.Process.Rlimits[0]) }},
		{"has a soft limit of 2 above its hard limit of 1", func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU", Soft: 2, Hard: 1}}
		}},
		{"mounts[0].destination is missing", func(s *specs.Spec) { s.Mounts[0].Destination = "" }},
		{"mounts[0].source is missing", func(s *specs.Spec) { s.Mounts[0] = specs.Mount{Destination: "/x", Type: "bind"} }},
		{"must have both uidMappings and gidMappings", func(s *specs.Spec) { s.Mounts[0].UIDMappings = []specs.LinuxIDMapping{{Size: 1}} }},
		{"", func(s *specs.Spec) { s.Mounts[0].Destination = "proc" }}, // a warning
		{`hooks.poststop[0].path "x" is not an absolute path`, func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "x"}}} }},
		{"hooks.createRuntime[0].timeout is 0", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/x", Timeout: &zero}}}
		}},
		{"annotations has an empty key", func(s *specs.Spec) { s.Annotations = map[string]string{"": "x"} }},
		{"hostname cannot be set without a uts namespace", func(s *specs.Spec) { s.Linux.Namespaces = nil }},
		{"domainname cannot be set without a uts namespace", func(s *specs.Spec) { s.Hostname, s.Domainname, s.Linux = "", "x", nil }},
		{"hostname", func(s *specs.Spec) { s.Hostname = strings.Repeat("h", 65) }},
		{`linux.namespaces[0].type "net" is not known`, func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "net" }},
		{"linux.namespaces[1].type pid was there before", func(s *specs.Spec) { s.Linux.Namespaces[1].Type = "pid" }},
		{"linux.namespaces[0].path cannot be joined", func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "/nowhere" }},
		{`linux.namespaces[0].path "x" is not an absolute path`, func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "x" }},
		{"need a user namespace", func(s *specs.Spec) { s.Linux.GIDMappings = []specs.LinuxIDMapping{{Size: 1}} }},
		{"linux.uidMappings is empty", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		}},
		{"linux.uidMappings[0].size is 0", func(s *specs.Spec) { mapIDs(s, specs.LinuxIDMapping{}) }},
		{"linux.uidMappings[0] goes beyond", func(s *specs.Spec) { mapIDs(s, specs.LinuxIDMapping{HostID: 1, Size: noID}) }},
		{"linux.uidMappings[1] overlaps with range 0", func(s *specs.Spec) {
			mapIDs(s, specs.LinuxIDMapping{Size: 10}, specs.LinuxIDMapping{ContainerID: 10, HostID: 9, Size: 1})
		}},
		{"", func(s *specs.Spec) {
			mapIDs(s, specs.LinuxIDMapping{Size: 10}, specs.LinuxIDMapping{ContainerID: 10, HostID: 10, Size: 1})
		}},
		{"linux.timeOffsets needs a time namespace", func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {}} }},
		{`linux.timeOffsets["realtime"] is for a clock`, func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"realtime": {}}
		}},
		{"linux.devices[0].path is missing", func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{}} }},
		{`linux.devices[0].type "x"`, func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/a", Type: "x"}} }},
		{"has the number -1:0", func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/a", Type: "c", Major: -1}} }},
		{"was there before as another device", func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/a", Type: "c"}, {Path: "/dev/a", Type: "b"}}
		}},
		{`"a/b" is no name of a network device`, func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "a/b"}} }},
		{`would have the name "e" in the container`, func(s *specs.Spec) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "e"}, "eth1": {Name: "e"}}
		}},
		{"linux.seccomp.defaultAction is missing", func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{} }},
		{"linux.seccomp.listenerPath is missing", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}}
		}},
		{"has SCMP_ACT_NOTIFY for write", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/s", Syscalls: []specs.LinuxSyscall{{Names: []string{"write"}, Action: specs.ActNotify}}}
		}},
		{"linux.seccomp.listenerMetadata is for a listener", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerMetadata: "x"}
		}},
		{`linux.rootfsPropagation "sharde" is not known`, func(s *specs.Spec) { s.Linux.RootfsPropagation = "sharde" }},
		{`linux.maskedPaths[0] "proc" is not an absolute path`, func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"proc"} }},
		{"linux.personality.domain", func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "BSD"} }},
	} {
		spec := template(t)
		c.spoil(spec)
		err := Check(spec)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

func mapIDs(s *specs.Spec, ranges ...specs.LinuxIDMapping) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings, s.Linux.GIDMappings = ranges, []specs.LinuxIDMapping{{Size: 1}}
}

// TestManyProblems: one error names several, and says how many it does not name.
func TestManyProblems(t *testing.T) {
	spec := template(t)
	spec.Process.Env = make([]string, 20)
	err := Check(spec)
	if err == nil || !strings.Contains(err.Error(), "process.env[7]") || strings.Contains(err.Error(), "process.env[8]") || !strings.Contains(err.Error(), "and 12 more") {
		t.Error(err)
	}
}

// logged is what is logged from now on.
func logged(t *testing.T) *bytes.Buffer {
	log := new(bytes.Buffer)
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return log
}

// TestWarnings: what other runtimes accept is only logged.
func TestWarnings(t *testing.T) {
	log := logged(t)
	spec := template(t)
	spec.Mounts[0].Destination = "proc"
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/b", Type: "bind", Source: "/", Options: []string{"rbind", "roo", "nosuid"}})
	spec.VM = &specs.VM{}
	spec.Process.Capabilities.Bounding = append(spec.Process.Capabilities.Bounding, "CAP_FLY", "CAP_FLY")
	if err := Check(spec); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`mounts[0].destination \"proc\" is not absolute`, "options has what no bind mount has (see mount(8)), and is left out: roo", "vm is for another platform", "no capabilities (see capabilities(7)), and are left out: CAP_FLY\"\n"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q: %s", want, log.String())
		}
	}
}

// TestUnknownCapability: what a name that is no capability means depends on the
// version of the specification.
func TestUnknownCapability(t *testing.T) {
	for version, refused := range map[string]bool{"1.0.0": true, "1.0.2-dev": true, "1.1.0": false, "1.3.0": false} {
		spec := template(t)
		spec.Version = version
		spec.Process.Capabilities.Bounding = append(spec.Process.Capabilities.Bounding, "CAP_TEST")
		err := Check(spec)
		if refused != (err != nil) || refused && !strings.Contains(err.Error(), "process.capabilities.bounding[") {
			t.Errorf("version %s: %v", version, err)
		}
	}
}

// TestTemplates: what `coffer spec` writes passes, when it comes back.
func TestTemplates(t *testing.T) {
	for _, rootless := range []bool{false, true} {
		data, err := json.Marshal(Template(rootless))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.Mkdir(dir+"/rootfs", 0o755); err != nil {
			t.Fatal(err)
		}
		spec, err := Decode(data, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(spec); err != nil {
			t.Errorf("rootless %v: %v", rootless, err)
		}
	}
}

func BenchmarkDecodeAndCheck(b *testing.B) {
	data, err := json.Marshal(Template(false))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	os.Mkdir(dir+"/rootfs", 0o755)
	for b.Loop() {
		spec, err := Decode(data, dir)
		if err == nil {
			err = Check(spec)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
