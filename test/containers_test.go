package test

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestContainerTools runs, behind each wall, what makes containers by
// namespaces and mounts. A host may forbid these, so it is not asked for what to
// expect.
func TestContainerTools(t *testing.T) {
	tests := []struct {
		name   string
		needs  []string
		flags  []string
		script string
		want   string
	}{
		{"unshare", []string{"unshare", "ps"}, nil, `
unshare -Urmpf --uts --ipc --net --cgroup --mount-proc sh -c '
	echo $$ $(id -u) $(hostname inner; hostname); ps -A -o pid= -o comm= | sed "s/^ *//" | head -1
	mkdir /tmp/m; mount -t tmpfs none /tmp/m && touch /tmp/m/x && ls /tmp/m'
hostname; ls /tmp/m; echo "status $?"
unshare -Ur --map-user 7 id -u; unshare -p --fork --kill-child sh -c 'sleep 60 & echo $!'`,
			"1 0 inner\n1 sh\nx\ncoffer\nstatus 0\n7\n2\n"},
		{"nsenter", []string{"unshare", "nsenter"}, nil, `
cd /tmp; touch uts; mount --make-private /tmp 2>/dev/null
unshare --uts=/tmp/uts hostname kept; nsenter --uts=/tmp/uts hostname; hostname; umount /tmp/uts
mkfifo ready; unshare -Umrp --fork --mount-proc sh -c 'mkdir m; mount -t tmpfs none /tmp/m; touch /tmp/m/theirs; echo >/tmp/ready; exec sleep 60' &
read x </tmp/ready; p=$(ls /proc | grep -E '^[0-9]+$' | while read n; do [ "$(cat /proc/$n/comm 2>/dev/null)" = sleep ] && echo $n; done)
nsenter -t $p -U -m -p --preserve-credentials sh -c 'ls /tmp/m; id -u; cat /proc/1/comm'; kill -9 $p; wait; ls m`,
			"kept\ncoffer\ntheirs\n0\nsleep\n"},
		{"mount", []string{"mount", "findmnt"}, nil, `
cd /tmp; mkdir a b c; mount -t tmpfs -o size=1m,mode=700 src a; mount --make-shared a; mount --bind a b; mkdir a/d
mount -t tmpfs none a/d; findmnt -rno TARGET,FSTYPE,PROPAGATION | grep '^/tmp/[ab]'; umount b/d; umount a
mount -o remount,bind,ro b; touch b/x 2>/dev/null || echo refused; mount --move b c && findmnt -rno TARGET c; umount -l c; ls`,
			"/tmp/a tmpfs shared\n/tmp/b tmpfs shared\n/tmp/a/d tmpfs shared\n/tmp/b/d tmpfs shared\nrefused\n/tmp/c\na\nb\nc\n"},
		{"chroot", []string{"chroot", "setpriv"}, nil, `
cd /tmp; mkdir r; mount --bind / r; echo in >r/only-here; chroot r /bin/sh -c 'cat /only-here; cd ..; pwd'
setpriv --reuid 1000 --regid 1000 --clear-groups --no-new-privs --bounding-set -all sh -c 'id -u; grep -c "^CapBnd:.0*$" /proc/self/status'`,
			"in\n/\n1000\n1\n"},
		{"bwrap-seccomp", []string{"bwrap", "python3"}, nil, `
python3 -c '
import struct, sys
# By struct sock_filter: load the number; mkdir and mkdirat give ENOSPC, all else may be.
for code, jt, jf, k in (0x20, 0, 0, 0), (0x15, 1, 0, 83), (0x15, 0, 1, 258), (6, 0, 0, 0x50000 | 28), (6, 0, 0, 0x7fff0000):
    sys.stdout.buffer.write(struct.pack("HBBI", code, jt, jf, k))' >/tmp/filter
bwrap --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --seccomp 9 9</tmp/filter sh -c '
	mkdir /tmp/d 2>&1 | sed "s/.*: //"; echo >/tmp/f && ls /tmp; grep Seccomp: /proc/self/status'
mkdir /tmp/d && echo outside; printf xxxxyyyy >/tmp/bad; bwrap --ro-bind / / --seccomp 9 9</tmp/bad true 2>/dev/null; echo "status $?"`,
			"No space left on device\nf\nSeccomp:\t2\noutside\nstatus 1\n"},
		{"bwrap", []string{"bwrap"}, nil, bwrapScript, bwrapOutput},
		{"bwrap-unprivileged", []string{"bwrap"}, []string{"--user", "nobody"}, bwrapScript, strings.Replace(bwrapOutput, "0\n", "65534\n", 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range tt.needs {
				if _, err := exec.LookPath(n); err != nil {
					t.Skipf("%s is not installed", n)
				}
			}
			for _, w := range kernelWalls {
				t.Run(w.name, func(t *testing.T) {
					argv := append([]string{coffer(t)}, w.args...)
					argv = append(append(argv, tt.flags...), "--cwd", "/", "--", "sh", "-c", "export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin"+tt.script)
					got := run(t, 2*time.Minute, "/", "", argv...)
					if got.stdout != tt.want {
						t.Errorf("exit status %d; output:\n%s\nnot:\n%s\nstandard error:\n%s", got.code, tail(got.stdout), tt.want, tail(got.stderr))
					}
				})
			}
		})
	}
}

// bwrapScript makes a container of the host's programs. It keeps the network,
// since a new one would need its loopback set up.
const bwrapScript = `
bwrap --unshare-all --share-net --die-with-parent --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp --hostname inside --new-session sh -c '
	id -u; hostname; cat /proc/1/comm; ls /tmp; echo hi >/tmp/x && cat /tmp/x; touch /usr/x 2>/dev/null || echo read-only
	head -c 4 /dev/zero | wc -c; echo >/dev/null && ls /dev/pts/ptmx; exit 3'
echo "status $?"`

const bwrapOutput = "0\ninside\nbwrap\nhi\nread-only\n4\n/dev/pts/ptmx\nstatus 3\n"
