package test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestPlaces runs coffer where something is missing, closed or limited: it
// works, or says what to change.
func TestPlaces(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make such places")
	}
	dir, err := os.MkdirTemp("", "places")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("install", "-m", "755", coffer(t), dir+"/coffer").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const nobody = "setpriv --reuid 12345 --regid 12345 --clear-groups "
	for _, c := range []struct {
		name, script string // run by sh, in mount namespace and a directory of its own
		code         int
		output       string // must be contained
	}{
		{"unprivileged user", nobody + `./coffer do --cwd / -- sh -c 'id -u; cat /etc/shadow; echo x >/tmp/x; cat /tmp/x; echo x >/dev/null && echo works'`,
			0, "12345\nx\nworks\ncat: /etc/shadow: Permission denied\n"},
		{"check of an unprivileged user", nobody + `./coffer check`, 0, "trap       yes"},
		{"user namespace with one ID", `unshare --user --map-root-user ./coffer do --cwd / -- sh -c 'id -u; cat /etc/hostname >/dev/null && echo works'`, 0, "0\nworks"},
		{"no new privileges", `setpriv --no-new-privs ./coffer do --cwd / -- echo works`, 0, "works"},
		{"PID namespace", `unshare --pid --fork --mount-proc ./coffer do --cwd / -- echo works`, 0, "works"},
		{"no network", `unshare --net ./coffer do --cwd / -- echo works`, 0, "works"},
		{"read-only root", `mount -o remount,bind,ro / && ./coffer do --cwd / -- sh -c 'echo works >/new; cat /new'`, 0, "works"},
		{"closed descriptors", `./coffer do --cwd / -- sh -c 'exit 7' <&- >&- 2>&-`, 7, ""},
		{"no environment", `env -i ./coffer do --cwd / -- ls /etc/passwd`, 0, "/etc/passwd"},
		{"large environment", `x=$(head -c 100000 /dev/zero | tr '\0' x); A=$x B=$x C=$x D=$x ./coffer do --cwd / -- sh -c 'echo ${#A} ${#D}'`, 0, "100000 100000"},
		{"deleted working directory", `mkdir d && cd d && rmdir ../d && ../coffer do -- pwd`, 125, "--cwd"},
		{"unreadable root file system", `mkdir -m 700 r && ` + nobody + `./coffer do --rootfs r -- true`, 125, "cannot be read by this user"},
		{"few open files", `ulimit -n 127; ./coffer do --cwd / -- true`, 125, "limit on open files is 127, and a sandbox needs at least 128: raise it (ulimit -n)"},
		{"check with few open files", `ulimit -n 8; ./coffer check`, 1, "limit on open files is 8, and a sandbox needs"},
		{"check of the process wall with few open files", `ulimit -n 8; ./coffer check`, 1, "limit on open files is 8, and making a container needs"},
		{"enough open files", `ulimit -n 128; ./coffer do --cwd / -- sh -c "echo works | cat"`, 0, "works"},
		{"few processes", nobody + `prlimit --nproc=20 ./coffer do --cwd / -- true`, 125, "limit on processes is 20, and a sandbox needs at least 64: raise it (ulimit -u)"},
		{"no /dev/null", `mount -t tmpfs none /dev; ./coffer do --cwd / -- true`, 125, "/dev/null"},
		{"check without /dev/null", `mount -t tmpfs none /dev; ./coffer check`, 1, "starting the sentry takes /dev/null"},
		{"full /tmp", `mount -t tmpfs -o nr_inodes=1 none /tmp; ./coffer do --cwd / -- sh -c "echo works >/tmp/x; cat /tmp/x"`, 0, "works"},
		{"read-only /tmp", `mount -t tmpfs -o ro none /tmp; ./coffer do --cwd / -- sh -c "echo works >/tmp/x; cat /tmp/x"`, 0, "works"},
		{"no cgroups", `umount -R -l /sys/fs/cgroup; ./coffer do --memory 100M --cwd / -- true`, 125, "--memory needs the memory controller"},
		{"cgroups of others", nobody + `./coffer do --memory 100M --cwd / -- true`, 125, "--memory"},
		{"little address space", `ulimit -v 2000000; ` + nobody + `./coffer do --cwd / -- true`, 125, "ulimit -v unlimited"},
		{"small files", `ulimit -f 10; ` + nobody + `./coffer do --cwd / -- true`, 125, "ulimit -f unlimited"},
		{"no /proc", `umount -l /proc; ./coffer do --cwd / -- true`, 125, "/proc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, time.Minute, dir, "", "unshare", "--mount", "sh", "-c", c.script)
			if all := r.stdout + r.stderr; r.code != c.code || !strings.Contains(all, c.output) {
				t.Errorf("exit status %d, want %d; output:\n%s\nwant %q", r.code, c.code, all, c.output)
			}
		})
	}
	nothingLeft(t)
}
