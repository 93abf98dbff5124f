package rootfs

import (
	"errors"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestSharedVolume mounts, in a container, something in a volume that is bound
// rshared: the host sees that, and of the container's other mounts nothing.
func TestSharedVolume(t *testing.T) {
	for name, noPivot := range map[string]bool{"pivot": false, "no pivot": true} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, newAll, func(t *testing.T) { shareVolume(t, noPivot) })
		})
	}
}

func shareVolume(t *testing.T, noPivot bool) {
	bundle := newBundle(t)
	volume := bundle + "/volume"
	makeDirs(t, volume)
	if err := errors.Join(
		unix.Mount("volume", volume, "tmpfs", 0, ""),
		os.Mkdir(volume+"/x", 0o755),
		os.Mkdir(bundle+"/rootfs/sub", 0o755),
		unix.Mount("sub", bundle+"/rootfs/sub", "tmpfs", 0, ""),
		unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""),
	); err != nil {
		t.Fatal(err)
	}
	before := fileText(t, "/proc/thread-self/mountinfo")
	inNewMounts(t, func() {
		spec := newSpec(append(defaultMounts(), specs.Mount{Destination: "/volume", Source: "volume", Options: []string{"rbind", "rshared"}},
			// What the root has mounted in it already is the host's no less.
			specs.Mount{Destination: "/sub/below", Type: "tmpfs"})...)
		spec.Linux.RootfsPropagation = "rshared"
		r, err := Prepare(&Config{Spec: spec, Bundle: bundle, NoPivot: noPivot})
		if err == nil {
			err = errors.Join(r.Enter(), r.Finish())
			r.Close()
		}
		if err != nil {
			t.Error(err)
			return
		}
		if err := unix.Mount("from-container", "/volume/x", "tmpfs", 0, ""); err != nil {
			t.Error(err)
		}
	})
	after := fileText(t, "/proc/thread-self/mountinfo")
	added, ok := strings.CutPrefix(after, before)
	if !ok || !strings.Contains(added, volume+"/x ") || strings.Count(added, "\n") != 1 {
		t.Errorf("the host's mounts were\n%sand are\n%s", before, after)
	}
}

// TestSlave mounts something on the host, below the container's root and below
// a volume: the container sees it where it asked for that.
func TestSlave(t *testing.T) {
	if !inside(t, newAll) {
		return
	}
	bundle := newBundle(t)
	makeDirs(t, bundle+"/volume/x", bundle+"/private/x", bundle+"/rootfs/x")
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	mounted := make(chan bool)
	ready := make(chan bool)
	go func() {
		defer close(mounted)
		if <-ready {
			for _, dir := range []string{"/volume/x", "/private/x", "/rootfs/x"} {
				if err := unix.Mount("late", bundle+dir, "tmpfs", 0, ""); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	inNewMounts(t, func() {
		defer close(ready)
		enter(t, bundle, newSpec(append(defaultMounts(),
			specs.Mount{Destination: "/volume", Source: "volume", Options: []string{"rbind", "rslave"}},
			specs.Mount{Destination: "/private", Source: "private", Options: []string{"rbind", "rprivate"}})...))
		ready <- true
		<-mounted
		list, err := readMounts()
		if err != nil {
			t.Error(err)
		}
		var late []string
		for _, m := range list {
			if strings.HasSuffix(m.point, "/x") {
				late = append(late, m.point)
			}
		}
		if got := strings.Join(late, " "); got != "/volume/x /x" {
			t.Errorf("seen in the container: %s", got)
		}
	})
}

// TestRemount changes mounts that are there.
func TestRemount(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		bundle := newBundle(t)
		enter(t, bundle, newSpec(append(defaultMounts(),
			specs.Mount{Destination: "/one", Type: "tmpfs", Options: []string{"nosuid", "size=64k"}},
			specs.Mount{Destination: "/one", Options: []string{"bind", "remount", "ro", "noexec"}},
			specs.Mount{Destination: "/two", Type: "tmpfs", Options: []string{"nosuid", "size=64k"}},
			specs.Mount{Destination: "/two", Type: "tmpfs", Options: []string{"remount", "size=128k", "nodev"}},
			specs.Mount{Destination: "/", Options: []string{"bind", "remount", "nodev"}})...))
		for point, want := range map[string]string{
			"/one": "tmpfs ro,nosuid,noexec,relatime rw,size=64k,mode=755",
			"/two": "tmpfs rw,nosuid,nodev,relatime rw,size=128k,mode=755",
			"/":    "tmpfs rw,nodev,relatime rw,mode=755",
		} {
			if got := mountAt(t, point).describe(); got != want {
				t.Errorf("%s is %s, want %s", point, got, want)
			}
		}
	})
}

// TestIDMapped maps the IDs of a mount in a container without a user
// namespace, and refuses what cannot be mapped.
func TestIDMapped(t *testing.T) {
	if !inside(t, newAll) {
		return
	}
	bundle := newBundle(t)
	makeDirs(t, bundle+"/data/below")
	if err := errors.Join(os.Chown(bundle+"/data", 1, 2), unix.Mount("x", bundle+"/data/below", "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	ids := func(n uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: n, Size: 100}}
	}
	mount := func(dest string, options ...string) specs.Mount {
		return specs.Mount{Destination: dest, Source: "data", Options: options, UIDMappings: ids(1000), GIDMappings: ids(2000)}
	}
	spec := newSpec(mount("/one", "rbind", "idmap"), mount("/all", "rbind", "ridmap"), mount("/bind", "bind", "idmap"))
	sources, err := OpenSources(spec, bundle, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Prepare(&Config{Spec: spec, Bundle: bundle, Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Enter(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]uint32{"/one": {1001, 2002}, "/one/below": {0, 0}, "/all": {1001, 2002}, "/all/below": {1000, 2000}, "/bind": {1001, 2002}} {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil || st.Uid != want[0] || st.Gid != want[1] {
			t.Errorf("%s is of %d:%d, %v; want %d:%d", name, st.Uid, st.Gid, err, want[0], want[1])
		}
	}
}

// TestIDMapErrors asks for mappings that cannot be.
func TestIDMapErrors(t *testing.T) {
	if !inside(t, newAll) {
		return
	}
	bundle := newBundle(t)
	makeDirs(t, bundle+"/data")
	one := []specs.LinuxIDMapping{{HostID: 1000, Size: 1}}
	for _, row := range []struct {
		mount specs.Mount
		words string
	}{
		{specs.Mount{Source: "data", Options: []string{"bind", "idmap"}}, "there is no mapping"},
		{specs.Mount{Source: "data", Options: []string{"bind", "idmap"}, UIDMappings: one}, "must be given both"},
		{specs.Mount{Source: "data", Options: []string{"bind"}, UIDMappings: []specs.LinuxIDMapping{{Size: 0}}, GIDMappings: one}, "uid_map"},
		{specs.Mount{Source: "/proc", Options: []string{"bind", "idmap"}, UIDMappings: one, GIDMappings: one}, "cannot be ID-mapped"},
	} {
		row.mount.Destination = "/data"
		_, err := OpenSources(newSpec(row.mount), bundle, nil)
		wantError(t, err, `mounts[0] "/data"`, row.words)
	}
	// Who forgets OpenSources must not get the mount without its mapping.
	_, err := Prepare(&Config{Bundle: bundle, Spec: newSpec(specs.Mount{Destination: "/x", Source: "data", Options: []string{"bind", "idmap"}})})
	wantError(t, err, `mounts[0] "/x"`, "ID-mapped")
}

// TestChroot is started where / is no mount point.
func TestChroot(t *testing.T) {
	for _, value := range []string{"", "shared"} {
		t.Run("propagation "+value, func(t *testing.T) {
			bothWays(t, 0, func(t *testing.T) {
				top := newBundle(t)
				makeDirs(t, top+"/jail/proc", top+"/jail/bundle/rootfs")
				if err := errors.Join(
					unix.Mount("proc", top+"/jail/proc", "proc", 0, ""),
					unix.Chroot(top+"/jail"),
					unix.Chdir("/"),
				); err != nil {
					t.Fatal(err)
				}
				spec := newSpec()
				spec.Linux.RootfsPropagation = value
				_, err := Prepare(&Config{Spec: spec, Bundle: "/bundle"})
				wantError(t, err, "chroot")
			})
		})
	}
}
