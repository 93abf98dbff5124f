package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPodman runs Podman, which has no server: conmon calls the runtime.
func TestPodman(t *testing.T) {
	need(t, true, "podman", "conmon")
	eachRuntime(t, func(t *testing.T, r runtime) {
		// Whatever the runtime is, the cgroups of pods stay, which have their IDs as names.
		leavesNothing(t, "cgroup /sys/fs/cgroup/*/libpod_parent/[0-9a-f]*", "cgroup /sys/fs/cgroup/libpod_parent/[0-9a-f]*", "file /run/libpod", "file /run/libpod/*", "file /run/containers", "file /run/containers/*", "file /run/crun", "file /run/runc", "file /run/coffer",
			"file /run/netns", "file /run/cni", "file /run/cni/*", "file /run/lock", "file /run/lock/*",
			"mount on /run/netns", "cgroup /sys/fs/cgroup/*/libpod_parent", "cgroup /sys/fs/cgroup/*/libpod_parent/conmon", "cgroup /sys/fs/cgroup/libpod_parent")
		dir, err := os.MkdirTemp(tmp, "podman")
		if err != nil {
			t.Fatal(err)
		}
		// Debian's Podman needs a policy for images, also for those it imports.
		policy := filepath.Join(dir, "policy.json")
		if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
			t.Fatal(err)
		}
		argv := func(args ...string) []string {
			return append([]string{"podman", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "libpod"),
				"--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs", "--runtime", r.path}, args...)
		}
		// The mount that Podman's storage has of itself goes with it.
		t.Cleanup(func() { unix.Unmount(filepath.Join(dir, "root"), unix.MNT_DETACH) })
		root := filepath.Join(dir, "root.tar")
		if err := os.WriteFile(root, rootTar(t), 0o644); err != nil {
			t.Fatal(err)
		}
		must(t, argv("import", "--signature-policy", policy, "--change", "ENV PATH=/bin", "--change", "CMD sh", root, "localhost/e2e")...)
		podman := func(t *testing.T, args ...string) outcome {
			t.Helper()
			return try(t, argv(args...)...)
		}
		t.Run("hello", func(t *testing.T) {
			o := podman(t, "run", "--rm", "--network", "none", "localhost/e2e", "sh", "-c", "echo hello; exit 7")
			if o.stdout != "hello\n" || o.code != 7 {
				t.Errorf("it said %q and %q and ended with %d", o.stdout, o.stderr, o.code)
			}
		})
		if t.Failed() {
			return
		}
		t.Run("life", func(t *testing.T) {
			must(t, argv("run", "--detach", "--name", "one", "--network", "none", "localhost/e2e", "sh", "-c", "echo first; exec sleep 1000")...)
			eventually(t, "the logs have what it said", func() bool { return podman(t, "logs", "one").stdout == "first\n" })
			if o := podman(t, "exec", "one", "sh", "-c", "echo here; exit 9"); o.stdout != "here\n" || o.code != 9 {
				t.Errorf("it said %q and %q and ended with %d", o.stdout, o.stderr, o.code)
			}
			must(t, argv("pause", "one")...)
			must(t, argv("unpause", "one")...)
			must(t, argv("kill", "one")...)
			eventually(t, "it ends", func() bool {
				return strings.TrimSpace(podman(t, "inspect", "--format", "{{.State.Status}}", "one").stdout) == "exited"
			})
			must(t, argv("cp", policy, "one:/copied")...)
			must(t, argv("start", "one")...)
			eventually(t, "it has what was copied", func() bool { return podman(t, "exec", "one", "cat", "/copied").stdout != "" })
			if o := podman(t, "top", "one", "-ef"); !strings.Contains(o.stdout, "sleep 1000") {
				t.Errorf("top: %q and %q", o.stdout, o.stderr)
			}
			must(t, argv("rm", "--force", "--time", "0", "one")...)
		})
		t.Run("network", func(t *testing.T) {
			need(t, true, "iptables", "/usr/lib/cni/bridge")
			serve := "while :; do echo $(hostname) | nc -l -p 8000; done"
			must(t, argv("run", "--detach", "--name", "server", "--hostname", "there", "localhost/e2e", "sh", "-c", serve)...)
			address := must(t, argv("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "server")...)
			eventually(t, "another container reaches it", func() bool {
				return podman(t, "run", "--rm", "localhost/e2e", "nc", address, "8000").stdout == "there\n"
			})
			must(t, argv("rm", "--force", "--time", "0", "server")...)
			must(t, argv("pod", "create", "--name", "pod", "--infra-image", "localhost/e2e", "--infra-command", "/bin/sleep 1000")...)
			must(t, argv("run", "--detach", "--pod", "pod", "localhost/e2e", "sh", "-c", serve)...)
			eventually(t, "another container of the pod reaches it at 127.0.0.1", func() bool {
				return podman(t, "run", "--rm", "--pod", "pod", "localhost/e2e", "nc", "127.0.0.1", "8000").stdout == "pod\n"
			})
			must(t, argv("pod", "rm", "--force", "--time", "0", "pod")...)
		})
		t.Run("created and removed", func(t *testing.T) {
			must(t, argv("create", "--name", "two", "--network", "none", "localhost/e2e", "true")...)
			must(t, argv("init", "two")...)
			must(t, argv("rm", "two")...)
		})
	})
}
