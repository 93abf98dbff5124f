package rootfs

import (
	"errors"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMounts makes one mount each, and compares it with what mountinfo shows.
func TestMounts(t *testing.T) {
	rows := []struct {
		name  string
		mount specs.Mount // a bind mount's source is a directory with one mount below it
		want  string      // at /m
		below string      // at /m/below, if it is there
		by    string      // how it can be made only, if not both ways
	}{
		{name: "tmpfs", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"size=64k", "mode=700"}}, want: "tmpfs rw,relatime rw,size=64k,mode=700"},
		{name: "tmpfs options in one string", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"size=64k,mode=700"}}, want: "tmpfs rw,relatime rw,size=64k,mode=700"},
		{name: "tmpfs read-only", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"ro"}}, want: "tmpfs ro,relatime rw,mode=755"},
		{name: "all attributes", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"}}, want: "tmpfs rw,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow rw,mode=755"},
		{name: "the later holds", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"nosuid", "suid", "noatime", "strictatime", "exec", "noexec", "ro", "rw"}}, want: "tmpfs rw,noexec rw,mode=755"},
		{name: "flags of the file system", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"sync", "dirsync", "lazytime", "async"}}, want: "tmpfs rw,relatime rw,dirsync,lazytime,mode=755"},
		{name: "flags of mount(2) alone", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"silent", "iversion", "noexec"}}, want: "tmpfs rw,noexec,relatime rw,mode=755"},
		{name: "options for others", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"defaults", "x-systemd.automount", "_netdev"}}, want: "tmpfs rw,relatime rw,mode=755"},
		{name: "propagation", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"rshared"}}, want: "tmpfs rw,relatime rw,mode=755 shared"},
		{name: "recursive attribute of a file system", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"rro"}}, want: "tmpfs ro,relatime rw,mode=755"},
		{name: "recursive attributes of a file system", mount: specs.Mount{Type: "tmpfs", Source: "x", Options: []string{"noatime", "noexec", "rrelatime", "rexec", "rnodev"}}, want: "tmpfs rw,nodev,relatime rw,mode=755"},
		{name: "bind", mount: specs.Mount{Options: []string{"bind"}}, want: "tmpfs rw,nodev,relatime rw"},
		{name: "type bind", mount: specs.Mount{Type: "bind"}, want: "tmpfs rw,nodev,relatime rw"},
		{name: "rbind", mount: specs.Mount{Options: []string{"rbind"}}, want: "tmpfs rw,nodev,relatime rw", below: "tmpfs rw,nosuid,relatime rw"},
		{name: "bind read-only keeps the rest", mount: specs.Mount{Options: []string{"rbind", "ro"}}, want: "tmpfs ro,nodev,relatime rw", below: "tmpfs rw,nosuid,relatime rw"},
		{name: "bind clears", mount: specs.Mount{Options: []string{"rbind", "dev", "noatime"}}, want: "tmpfs rw,noatime rw", below: "tmpfs rw,nosuid,relatime rw"},
		{name: "rro", mount: specs.Mount{Options: []string{"rbind", "rro"}}, want: "tmpfs ro,nodev,relatime rw", below: "tmpfs ro,nosuid,relatime rw", by: "descriptors"},
		{name: "all recursive", mount: specs.Mount{Options: []string{"rbind", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow"}}, want: "tmpfs rw,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow rw", below: "tmpfs rw,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow rw", by: "descriptors"},
		{name: "recursive clears", mount: specs.Mount{Options: []string{"rbind", "rsuid", "rdev"}}, want: "tmpfs rw,relatime rw", below: "tmpfs rw,relatime rw", by: "descriptors"},
		{name: "one and all", mount: specs.Mount{Options: []string{"rbind", "ro", "rnoexec"}}, want: "tmpfs ro,nodev,noexec,relatime rw", below: "tmpfs rw,nosuid,noexec,relatime rw", by: "descriptors"},
		{name: "bind shared", mount: specs.Mount{Options: []string{"rbind", "rshared"}}, want: "tmpfs rw,nodev,relatime rw shared", below: "tmpfs rw,nosuid,relatime rw shared"},
		{name: "bind unbindable", mount: specs.Mount{Options: []string{"rbind", "unbindable"}}, want: "tmpfs rw,nodev,relatime rw unbindable", below: "tmpfs rw,nosuid,relatime rw"},
		{name: "long option", mount: specs.Mount{Type: "overlay", Source: "x", Options: []string{"lowerdir=BUNDLE/lower:BUNDLE" + strings.Repeat("/.", 150) + "/below"}}, want: "overlay rw,relatime ro,lowerdir"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for _, by := range []string{"descriptors", "names"} {
				t.Run(by, func(t *testing.T) {
					if row.by != "" && row.by != by || !inside(t, 0) {
						return
					}
					bundle := newBundle(t)
					source := bundle + "/source"
					makeDirs(t, source, bundle+"/lower", bundle+"/below")
					if err := errors.Join(
						unix.Mount("x", source, "tmpfs", unix.MS_NODEV, ""),
						os.Mkdir(source+"/below", 0o755),
						unix.Mount("x", source+"/below", "tmpfs", unix.MS_NOSUID, ""),
					); err != nil {
						t.Fatal(err)
					}
					if by == "names" {
						refuseMountAPI(t)
					}
					row.mount.Destination = "/m"
					if row.mount.Source == "" {
						row.mount.Source = "source" // relative to the bundle
					}
					for i, o := range row.mount.Options {
						row.mount.Options[i] = strings.ReplaceAll(o, "BUNDLE", bundle)
					}
					enter(t, bundle, newSpec(specs.Mount{Destination: "/proc", Type: "proc", Source: "proc"}, row.mount))
					if got := mountAt(t, "/m").describe(); !strings.HasPrefix(got+" ", row.want) {
						t.Errorf("/m is %q, want %q", got, row.want)
					}
					if row.below != "" {
						if got := mountAt(t, "/m/below").describe(); !strings.HasPrefix(got, row.below) {
							t.Errorf("/m/below is %q, want %q", got, row.below)
						}
					} else if _, err := os.Stat("/m/below/.."); err == nil {
						if mounts, _ := readMounts(); mounts[len(mounts)-1].point == "/m/below" {
							t.Error("what is mounted below was bound too")
						}
					}
				})
			}
		})
	}
}
