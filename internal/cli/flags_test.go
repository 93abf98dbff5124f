package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseBind(t *testing.T) {
	for _, c := range []struct {
		spec, host, guest string
		write             bool
		err               string
	}{
		{spec: "/a", host: "/a"},
		{spec: "/a:rw", host: "/a", write: true},
		{spec: "/a:ro", host: "/a"},
		{spec: "/a:/b/../c", host: "/a", guest: "/c"},
		{spec: "./x:/b:rw", host: "./x", guest: "/b", write: true},
		{spec: `/a\:b`, host: "/a:b"},
		{spec: `/a\:ro`, host: "/a:ro"},
		{spec: `/a\:b:/c\:d:rw`, host: "/a:b", guest: "/c:d", write: true},
		{spec: `/a\b\\:rw`, host: `/a\b\`, write: true},
		{spec: `/a\`, host: `/a\`},
		{spec: `/a\::/b`, host: "/a:", guest: "/b"},
		{spec: "/dev/shm:/dev/shm", host: "/dev/shm", guest: "/dev/shm"},
		{spec: "/tmp:/proc", err: "own /proc"},
		{spec: "/tmp:/x/../dev/:rw", err: "own /dev"},
		{spec: "/proc", err: "own /proc"},
		{spec: "/proc:/mnt", host: "/proc", guest: "/mnt"},
		{spec: "", err: "names no host path"},
		{spec: ":/b", err: "names no host path"},
		{spec: "/a:b", err: "not absolute"},
		{spec: "/a:/", err: "--rootfs"},
		{spec: "/a:/b:/c", err: "too many colons"},
		{spec: "/a:/b:rx", err: "too many colons"},
	} {
		host, guest, write, err := parseBind(c.spec)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("parseBind(%q): error %v, want one with %q", c.spec, err, c.err)
			}
		case err != nil || host != c.host || guest != c.guest || write != c.write:
			t.Errorf("parseBind(%q) = %q, %q, %v, %v", c.spec, host, guest, write, err)
		}
	}
}

func TestParseMemory(t *testing.T) {
	for s, want := range map[string]int64{
		"": 0, "64M": 64 << 20, "64MiB": 64 << 20, "2g": 2 << 30, "67108864": 64 << 20, "1T": 1 << 40,
		"M": -1, "B": -1, "12X": -1, "-5M": -1, "1M": -1, "99999999999999T": -1, "1.5G": -1,
	} {
		got, err := parseMemory(s)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("parseMemory(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("COFFER_TEST_PASSED", "on")
	got, err := environment([]string{"A=1", "AB=2"}, []string{"A=3", "COFFER_TEST_PASSED", "COFFER_TEST_UNSET"})
	if want := []string{"AB=2", "A=3", "COFFER_TEST_PASSED=on"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("environment = %q, %v; want %q", got, err, want)
	}
	if _, err := environment(nil, []string{"=x"}); err == nil {
		t.Error("a variable without a name was taken")
	}
}

func TestResolveUser(t *testing.T) {
	root := t.TempDir()
	os.Mkdir(filepath.Join(root, "etc"), 0o755)
	os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n"), 0o644)
	os.WriteFile(filepath.Join(root, "etc/group"), []byte("www:x:34:\nlogs:x:40:web,root\nbroken\n"), 0o644)
	for _, c := range []struct {
		spec     string
		uid, gid uint32
		groups   []uint32
		fails    bool
	}{
		{spec: "web", uid: 33, gid: 34, groups: []uint32{40}},
		{spec: "33", uid: 33, gid: 34, groups: []uint32{40}},
		{spec: "77", uid: 77},
		{spec: "77:logs", uid: 77, gid: 40},
		{spec: "web:5", uid: 33, gid: 5},
		{spec: "nemo", fails: true},
		{spec: "web:nemo", fails: true},
	} {
		uid, gid, groups, err := resolveUser(c.spec, root)
		if (err != nil) != c.fails || !c.fails && (uid != c.uid || gid != c.gid || !slices.Equal(groups, c.groups)) {
			t.Errorf("resolveUser(%q) = %d, %d, %v, %v", c.spec, uid, gid, groups, err)
		}
	}
}
