package test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newNamespaces are clone(2)'s flags for namespaces.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// TestRefusingHost runs coffer where the host lacks calls or forbids them, as
// containers, old kernels and security modules do. Each time it works, or says
// in one sentence what is missing and what to do; and `coffer check` says the
// same as `coffer do`.
func TestRefusingHost(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const works = ""
	all := func(call int, errno unix.Errno) []refusal { return []refusal{{call: call, errno: errno}} }
	for _, c := range []struct {
		name     string
		refusals []refusal
		trap     string // what the error names; works if it is empty
		ptrace   string
	}{
		{"nothing", nil, works, works},
		{"user namespaces", []refusal{{call: unix.SYS_CLONE, errno: unix.EPERM, mask: newNamespaces}}, "user namespaces", "user namespaces"},
		{"namespaces not compiled in", []refusal{{call: unix.SYS_CLONE, errno: unix.EINVAL, mask: newNamespaces}}, "compiled in", "compiled in"},
		{"namespaces used up", []refusal{{call: unix.SYS_CLONE, errno: unix.ENOSPC, mask: newNamespaces}}, "user.max_user_namespaces", "user.max_user_namespaces"},
		{"processes used up", []refusal{{call: unix.SYS_CLONE, errno: unix.EAGAIN, mask: newNamespaces}}, "ulimit -u", "ulimit -u"},
		{"clone3", all(unix.SYS_CLONE3, unix.ENOSYS), works, works},
		{"unshare", all(unix.SYS_UNSHARE, unix.EPERM), works, works},
		{"pidfd_open", all(unix.SYS_PIDFD_OPEN, unix.ENOSYS), works, works},
		{"userfaultfd", all(unix.SYS_USERFAULTFD, unix.EPERM), works, works},
		{"io_uring_setup", all(unix.SYS_IO_URING_SETUP, unix.EPERM), works, works},
		{"futex_waitv", all(unix.SYS_FUTEX_WAITV, unix.ENOSYS), works, works},
		{"priority inheritance", []refusal{{call: unix.SYS_FUTEX, errno: unix.ENOSYS, arg: 1, mask: 6, equal: true}}, works, works},
		{"membarrier", all(unix.SYS_MEMBARRIER, unix.ENOSYS), works, works},
		{"rseq", all(unix.SYS_RSEQ, unix.ENOSYS), works, works},
		{"kcmp", all(unix.SYS_KCMP, unix.ENOSYS), works, works},
		{"setpriority", all(unix.SYS_SETPRIORITY, unix.EPERM), works, works},
		{"ptrace", all(unix.SYS_PTRACE, unix.EPERM), works, "by ptrace: tracing"},
		{"no ptrace", all(unix.SYS_PTRACE, unix.ENOSYS), works, "by ptrace: tracing"},
		{"seccomp", all(unix.SYS_SECCOMP, unix.ENOSYS), "call seccomp ", "call seccomp "},
		{"seccomp filters", []refusal{{call: unix.SYS_SECCOMP, errno: unix.EINVAL, mask: unix.SECCOMP_SET_MODE_FILTER}}, "seccomp filter", "seccomp filter"},
		{"memfd_create", all(unix.SYS_MEMFD_CREATE, unix.ENOSYS), "call memfd_create ", "call memfd_create "},
		{"process_vm_readv", all(unix.SYS_PROCESS_VM_READV, unix.EPERM), "call process_vm_readv ", "call process_vm_readv "},
		{"process_vm_writev", all(unix.SYS_PROCESS_VM_WRITEV, unix.ENOSYS), "call process_vm_writev ", "call process_vm_writev "},
		// Only a call with one piece of memory, as a security module that
		// looks at whose memory it is.
		{"others' memory", []refusal{{call: unix.SYS_PROCESS_VM_READV, errno: unix.EPERM, arg: 2, mask: 1}}, "ptrace_scope", "ptrace_scope"},
		{"mount", all(unix.SYS_MOUNT, unix.EPERM), "mounts private", "mounts private"},
		{"mount, by AppArmor", all(unix.SYS_MOUNT, unix.EACCES), "apparmor_restrict_unprivileged_userns", "apparmor_restrict_unprivileged_userns"},
		{"pivot_root", all(unix.SYS_PIVOT_ROOT, unix.EPERM), "pivoting", "pivoting"},
		{"umount2", all(unix.SYS_UMOUNT2, unix.EPERM), "taking the host's root off", "taking the host's root off"},
		{"open_tree", all(unix.SYS_OPEN_TREE, unix.EPERM), "call open_tree ", "call open_tree "},
		{"mount_setattr", all(unix.SYS_MOUNT_SETATTR, unix.ENOSYS), "Linux 5.12", "Linux 5.12"},
		{"close_range", all(unix.SYS_CLOSE_RANGE, unix.ENOSYS), "Linux 5.12", "Linux 5.12"},
		{"fsopen", all(unix.SYS_FSOPEN, unix.EPERM), "view of the stubs", "view of the stubs"},
		{"eventfd", all(unix.SYS_EVENTFD2, unix.EPERM), "call eventfd2 ", "call eventfd2 "},
		{"epoll", all(unix.SYS_EPOLL_CREATE1, unix.ENOSYS), "call epoll_create1 ", "call epoll_create1 "},
		{"prctl", all(unix.SYS_PRCTL, unix.EPERM), "call prctl ", "call prctl "},
		{"openat2", all(unix.SYS_OPENAT2, unix.ENOSYS), "call openat2 ", "call openat2 "},
		{"preadv2 and pwritev2", append(all(unix.SYS_PREADV2, unix.ENOSYS), all(unix.SYS_PWRITEV2, unix.ENOSYS)...), "call preadv2 ", "call preadv2 "},
		{"setrlimit", all(unix.SYS_SETRLIMIT, unix.EPERM), "call setrlimit ", "call setrlimit "},
		{"capset", all(unix.SYS_CAPSET, unix.EPERM), "call capset ", "call capset "},
		{"tgkill", all(unix.SYS_TGKILL, unix.ENOSYS), "call tgkill ", "call tgkill "},
	} {
		t.Run(c.name, func(t *testing.T) {
			var list []string
			for _, r := range c.refusals {
				list = append(list, r.String())
			}
			launched := func(args ...string) result {
				argv := []string{"env", refusalsVariable + "=" + strings.Join(list, " "), self, coffer(t)}
				return run(t, time.Minute, "/", "", append(argv, args...)...)
			}
			said := map[string]string{}
			for platform, missing := range map[string]string{"trap": c.trap, "ptrace": c.ptrace} {
				r := launched("do", "--intercept", platform, "--", "sh", "-c", "ls /etc/passwd; kill -0 $$")
				said[platform] = strings.TrimSpace(strings.TrimPrefix(r.stderr, "coffer: "))
				switch {
				case missing == works && (r.code != 0 || r.stdout != "/etc/passwd\n"):
					t.Errorf("%s: exit status %d, output %q, errors:\n%s", platform, r.code, r.stdout, tail(r.stderr))
				case missing == works:
				case r.code != 125 || r.stdout != "" || !strings.Contains(r.stderr, missing) || strings.Count(r.stderr, "\n") != 1:
					t.Errorf("%s: exit status %d, output %q, errors:\n%s\nwant one that has %q", platform, r.code, r.stdout, tail(r.stderr), missing)
				}
			}
			r := launched("check", "--format", "json")
			var rows []struct {
				Isolation, Intercept, Reason string
				Works                        bool
			}
			if err := json.Unmarshal([]byte(r.stdout), &rows); err != nil {
				t.Fatalf("check: exit status %d, %v:\n%s%s", r.code, err, r.stdout, tail(r.stderr))
			}
			for _, row := range rows {
				reason, ok := said[row.Intercept]
				if row.Isolation == "kernel" && ok && (row.Works != (reason == "") || row.Reason != reason) {
					t.Errorf("check says of %s: works: %t, %q, and do says %q", row.Intercept, row.Works, row.Reason, reason)
				}
			}
			if r.stderr != "" || (r.code == 0) != (c.trap == works) {
				t.Errorf("check: exit status %d, errors:\n%s", r.code, tail(r.stderr))
			}
		})
	}
	nothingLeft(t)
}

// TestNoRandomNumbers: a host that refuses those is told of before anything else.
func TestNoRandomNumbers(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS} {
		list := refusal{call: unix.SYS_GETRANDOM, errno: errno}.String()
		r := run(t, time.Minute, "/", "", "env", refusalsVariable+"="+list, self, coffer(t), "version")
		if r.code != 125 || !strings.Contains(r.stderr, "refuses the system call getrandom ("+errno.Error()+")") || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%v: exit status %d, output %q, errors:\n%s", errno, r.code, r.stdout, tail(r.stderr))
		}
	}
}
