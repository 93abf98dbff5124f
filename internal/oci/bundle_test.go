package oci

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bundle makes a bundle whose configuration is the text, with a directory
// rootfs.
func bundle(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestUnknownFields: a warning names the first field that is not known, wherever it is.
func TestUnknownFields(t *testing.T) {
	for _, fields := range []string{
		`"other": 1`, `"linux": {"other": 1}`, `"vm": {"other": 1}`, `"windows": {"layerFolders": ["a"], "other": 1}`,
		`"windows": {"layerFolders": ["a"]}, "other": 1`, `"linux": {"other": 1}, "solaris": {"milestone": "a"}`,
	} {
		log := logged(t)
		if _, _, err := Load(bundle(t, small[:len(small)-1]+", "+fields+"}")); err != nil {
			t.Errorf("%s: %v", fields, err)
		}
		if strings.Count(log.String(), `a field \"other\" is not known`) != 1 {
			t.Errorf("%s: the log has %q", fields, log)
		}
	}
	log := logged(t)
	if _, _, err := Load(bundle(t, small[:len(small)-1]+`, "windows": {"layerFolders": ["a"]}}`)); err != nil || strings.Contains(log.String(), "is not known") {
		t.Errorf("without any: %v, the log has %q", err, log)
	}
}

// TestUnknownCalls: a warning names calls that a rule would refuse, and that there are not.
func TestUnknownCalls(t *testing.T) {
	for profile, warned := range map[string]bool{
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdri"], "action": "SCMP_ACT_ERRNO"}]}`:  true,
		`{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["mkdri"], "action": "SCMP_ACT_KILL"}]}`:              true,
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}`:           false,
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdri"], "action": "SCMP_ACT_LOG"}]}`:             false,
		`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execve", "mkdri"], "action": "SCMP_ACT_ALLOW"}]}`: false,
	} {
		log := logged(t)
		if _, _, err := Load(bundle(t, small[:len(small)-1]+`, "linux": {"seccomp": `+profile+"}}")); err != nil {
			t.Errorf("%s: %v", profile, err)
		}
		if got := strings.Contains(log.String(), `syscalls[0].names has what is no system call, so that the rule refuses none by it: [\"mkdri\"]`); got != warned {
			t.Errorf("%s: the log has %q", profile, log)
		}
	}
}

const small = `{"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "process": {"args": ["true"], "cwd": "/"}}`

func TestLoadMakesPathsAbsolute(t *testing.T) {
	dir := bundle(t, `{"ociVersion": "1.0.2-dev", "root": {"path": "rootfs"}, "process": {"args": ["true"], "cwd": "/"},
		"mounts": [{"destination": "/a", "type": "bind", "source": "data"}, {"destination": "/b", "source": "x/../y", "options": ["rbind"]},
			{"destination": "/c", "type": "tmpfs", "source": "tmpfs"}],
		"tomorrow": {"is": "ignored"}}`)
	log := logged(t)
	_, spec, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), `a field \"tomorrow\" is not known`) {
		t.Errorf("the log has %q", log)
	}
	if spec.Root.Path != dir+"/rootfs" || spec.Mounts[0].Source != dir+"/data" || spec.Mounts[1].Source != dir+"/y" || spec.Mounts[2].Source != "tmpfs" {
		t.Errorf("root %s, mounts %+v", spec.Root.Path, spec.Mounts)
	}
}

// TestOtherSystems: the parts of a configuration that are for other systems are read, too.
func TestOtherSystems(t *testing.T) {
	for name, has := range map[string]func(*specs.Spec) bool{
		`"solaris": {"milestone": "a"}`:      func(s *specs.Spec) bool { return s.Solaris.Milestone == "a" },
		`"windows": {"layerFolders": ["a"]}`: func(s *specs.Spec) bool { return s.Windows.LayerFolders[0] == "a" },
		`"vm": {"kernel": {"path": "/a"}}`:   func(s *specs.Spec) bool { return s.VM.Kernel.Path == "/a" },
		`"zos": {"namespaces": []}`:          func(s *specs.Spec) bool { return s.ZOS != nil },
		`"freebsd": {"devices": []}`:         func(s *specs.Spec) bool { return s.FreeBSD != nil },
		`"hostname": "a"`:                    func(s *specs.Spec) bool { return s.Hostname == "a" && s.Windows == nil },
	} {
		spec, err := decodeKnown([]byte(`{"ociVersion": "1.0.0", `+name+`}`), "/bundle")
		if err != nil || !has(spec) {
			t.Errorf("%s: %+v, %v", name, spec, err)
		}
	}
}

// TestBadConfig: what is wrong with the file itself.
func TestBadConfig(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"empty", " \n", "config.json is empty"},
		{"truncated", "{\n  \"ociVersion\": \"1.0.0\",\n  \"root\": {\"pa", "config.json:3:"},
		{"not JSON", "{\n\t'a': 1}", "config.json:2:2 is not JSON"},
		{"trailing", small + "}", "is not JSON"},
		{"list", "[]", "the whole has a JSON array where a value of the kind object belongs"},
		{"kind", "{\"ociVersion\": \"1.0.0\",\n \"process\": {\"args\": \"sh\"}}", "config.json:2:"},
		{"below the range", `{"process": {"user": {"uid": -1}}}`, "process.user.uid has a JSON number -1 where a value of the kind whole number from 0 to 4294967295 belongs"},
		{"above the range", `{"linux": {"resources": {"memory": {"limit": 9223372036854775808}}}}`, "whole number from -9223372036854775808 to 9223372036854775807 belongs"},
		{"kind's field", `{"process": {"args": "sh"}}`, "process.args has a JSON string where a value of the kind array belongs"},
		{"number", `{"process": {"user": {"uid": -1}}}`, "process.user.uid has a JSON number -1"},
		{"no version", `{}`, "ociVersion is missing"},
		{"other major", `{"ociVersion": "2.0.0"}`, `ociVersion "2.0.0" is not supported`},
		{"before 1", `{"ociVersion": "0.9.0"}`, `ociVersion "0.9.0" is not supported`},
		{"no version at all", `{"ociVersion": "latest"}`, `ociVersion "latest" is not a version`},
		{"two numbers", `{"ociVersion": "1.0"}`, `ociVersion "1.0" is not a version`},
		{"leading zero", `{"ociVersion": "1.00.0"}`, `is not a version`},
	} {
		_, _, err := Load(bundle(t, c.config))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one with %q", c.name, err, c.want)
		}
	}
	for _, v := range []string{"1.0.0", "1.0.0-rc5", "1.2.1+dev", "1.0.2-dev", "1.3.0", "1.99.0"} {
		if err := checkVersion(v); err != nil {
			t.Errorf("ociVersion %s: %v", v, err)
		}
	}
}

// TestNoConfig: what stands in the place of the file.
func TestNoConfig(t *testing.T) {
	for _, c := range []struct {
		name, want string
		place      func(path string) error
	}{
		{"nothing", "JSON specification file config.json not found", os.Remove},
		{"directory", "is not a regular file", func(p string) error { os.Remove(p); return os.Mkdir(p, 0o755) }},
		{"FIFO", "is not a regular file", func(p string) error { os.Remove(p); return unix.Mkfifo(p, 0o600) }},
		{"too large", "is larger than 8 MiB", func(p string) error { return os.Truncate(p, maxConfig+1) }},
	} {
		dir := bundle(t, small)
		if err := c.place(filepath.Join(dir, ConfigFile)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one with %q", c.name, err, c.want)
		}
	}
}

// FuzzConfig: no configuration makes Decode or Check panic.
func FuzzConfig(f *testing.F) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	f.Add([]byte(small))
	f.Add([]byte(`{"ociVersion":"1.0.0","root":{"path":"/"},"process":{"args":["a"],"cwd":"/","rlimits":[{"type":"RLIMIT_CPU"}],"env":["A=b"]},
		"mounts":[{"destination":"x","type":"bind","source":"/","options":["rbind"],"uidMappings":[{"size":1}]}],
		"hooks":{"poststop":[{"path":"/x","timeout":0}]},"hostname":"h",
		"linux":{"namespaces":[{"type":"user"},{"type":"time"},{"type":"pid","path":"/x"}],"uidMappings":[{"containerID":4294967295,"size":4294967295}],
			"timeOffsets":{"boottime":{"nanosecs":1}},"devices":[{"path":"/d","type":"c"}],"netDevices":{"eth0":{"name":"x"}},
			"seccomp":{"defaultAction":"SCMP_ACT_NOTIFY","syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY","args":[{"index":9}]}]},
			"personality":{"domain":"LINUX"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := Decode(data, "/bundle")
		if err == nil {
			Check(spec)
		}
	})
}
