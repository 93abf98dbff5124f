package identity

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The test binary is also the process that becomes another one (as), and the
// program that it then runs, which tells what it is (show).
const role = "IDENTITY_TEST"

func init() {
	if os.Getenv(role) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "as":
		if err := become(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "show":
		show()
	case "squat":
		squat()
	}
}

// task is what a process is to do.
type task struct {
	Settings
	// Steps are those that it makes, by name.
	Steps []string
}

// become takes the steps of the task on standard input, and runs the program.
func become() error {
	var t task
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return err
	}
	for _, step := range t.Steps {
		var err error
		switch step {
		case "outside":
			err = t.Outside(0)
		case "affinity":
			err = t.Affinity(0, true)
		case "keyring":
			err = t.Keyring()
		case "sysctls":
			err = t.Sysctls()
		case "labels":
			err = t.Labels()
		case "become":
			err = t.Become(func() error {
				have, err := held()
				if err != nil {
					return err
				}
				nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
				os.Setenv("SECCOMP", fmt.Sprintf("admin %v, no_new_privs %d", have.effective&(1<<unix.CAP_SYS_ADMIN) != 0, nnp))
				return err
			})
		}
		if err != nil {
			return err
		}
	}
	if err := t.LateLimits(0); err != nil {
		return err
	}
	os.Setenv(role, "show")
	return syscall.Exec("/proc/self/exe", []string{"show"}, os.Environ())
}

// shown is what a program tells of itself.
type shown struct {
	Status   map[string]string // proc_pid_status(5)
	Limits   map[int]unix.Rlimit
	OOM      string
	Sched    unix.SchedAttr
	IO       int
	Person   int
	Keyring  string
	Sysctl   map[string]string
	Memory   int
	AppArmor string
	Seccomp  string
	Warnings string `json:"-"`
}

func show() {
	s := shown{Status: map[string]string{}, Limits: map[int]unix.Rlimit{}, Sysctl: map[string]string{}, Seccomp: os.Getenv("SECCOMP")}
	data, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		s.Status[name] = strings.Join(strings.Fields(value), " ")
	}
	for _, r := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_CORE} {
		var l unix.Rlimit
		unix.Getrlimit(r, &l)
		s.Limits[r] = l
	}
	data, _ = os.ReadFile("/proc/self/oom_score_adj")
	s.OOM = strings.TrimSpace(string(data))
	if a, err := unix.SchedGetAttr(0, 0); err == nil {
		s.Sched = *a
	}
	io, _, _ := unix.RawSyscall(unix.SYS_IOPRIO_GET, processWho, 0, 0)
	person, _, _ := unix.RawSyscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	s.IO, s.Person = int(io), int(person)
	if text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, unix.KEY_SPEC_SESSION_KEYRING); err == nil {
		s.Keyring = text
	}
	for _, name := range []string{"kernel/shmmax", "net/ipv4/ip_forward"} {
		data, _ := os.ReadFile("/proc/sys/" + name)
		s.Sysctl[name] = strings.TrimSpace(string(data))
	}
	data, _ = os.ReadFile("/proc/self/attr/apparmor/current")
	s.AppArmor = strings.TrimSpace(string(data))
	mode := int32(-1)
	unix.RawSyscall6(unix.SYS_GET_MEMPOLICY, uintptr(pointer(&mode)), 0, 0, 0, 0, 0)
	s.Memory = int(mode)
	json.NewEncoder(os.Stdout).Encode(s)
}

// run has a process do a task, and returns what the program tells.
func run(t *testing.T, task *task, namespaces uintptr) (*shown, error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become others")
	}
	if task.Process == nil {
		task.Process = &specs.Process{}
	}
	in, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"=as")
	cmd.Stdin = bytes.NewReader(in)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, errors.New(strings.TrimSpace(errs.String()))
	}
	s := &shown{Warnings: errs.String()}
	if err := json.Unmarshal(out.Bytes(), s); err != nil {
		t.Fatalf("%v in %q, %q", err, out.String(), errs.String())
	}
	return s, nil
}

// all are the steps of a container's process in order.
var all = []string{"keyring", "affinity", "outside", "labels", "become"}

func mustRun(t *testing.T, p *specs.Process, l *specs.Linux) *shown {
	t.Helper()
	s, err := run(t, &task{Settings: Settings{ID: "id", Process: p, Linux: l}, Steps: all}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shown) want(t *testing.T, name, value string) {
	t.Helper()
	if s.Status[name] != value {
		t.Errorf("%s is %q, want %q", name, s.Status[name], value)
	}
}

func TestUserAndGroups(t *testing.T) {
	umask := uint32(0o27)
	s := mustRun(t, &specs.Process{User: specs.User{UID: 1234, GID: 2345, AdditionalGids: []uint32{7, 5}, Umask: &umask}}, nil)
	s.want(t, "Uid", "1234 1234 1234 1234")
	s.want(t, "Gid", "2345 2345 2345 2345")
	s.want(t, "Groups", "5 7")
	s.want(t, "Umask", "0027")
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		s.want(t, set, "0000000000000000")
	}
	s.want(t, "NoNewPrivs", "0")
	// The caller's groups are not inherited.
	s = mustRun(t, &specs.Process{}, nil)
	s.want(t, "Groups", "")
}

func TestCapabilities(t *testing.T) {
	chown := []string{"CAP_CHOWN"} // number 0
	two := []string{"CAP_CHOWN", "CAP_KILL"}
	s := mustRun(t, &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: two, Effective: two, Permitted: two}}, nil)
	s.want(t, "CapBnd", "0000000000000021")
	s.want(t, "CapPrm", "0000000000000021")
	s.want(t, "CapEff", "0000000000000021")
	s.want(t, "CapInh", "0000000000000000")

	s = mustRun(t, &specs.Process{User: specs.User{UID: 1, GID: 1}, Capabilities: &specs.LinuxCapabilities{
		Bounding: two, Effective: two, Permitted: two, Inheritable: chown, Ambient: chown,
	}}, nil)
	s.want(t, "CapBnd", "0000000000000021")
	s.want(t, "CapAmb", "0000000000000001")
	s.want(t, "CapPrm", "0000000000000001") // the program is no root, so only the ambient ones stay
	s.want(t, "CapEff", "0000000000000001")
	s.want(t, "CapInh", "0000000000000001")
}

func TestCapabilitiesThatCantBeHad(t *testing.T) {
	have, err := held()
	if err != nil {
		t.Fatal(err)
	}
	set := []string{"CAP_KILL", "CAP_NO_SUCH"}
	want := "0000000000000020"
	if have.permitted&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		set = append(set, "CAP_SYS_RESOURCE")
	}
	s := mustRun(t, &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set, Ambient: set}}, nil)
	s.want(t, "CapPrm", want)
	s.want(t, "CapBnd", want)
	s.want(t, "CapAmb", "0000000000000000")
	for _, warning := range append(set[2:], "ambient") { // of names that are none package oci warns
		if !strings.Contains(s.Warnings, warning) {
			t.Errorf("no warning about %s in %q", warning, s.Warnings)
		}
	}
}

func TestNoNewPrivsAndTheMomentOfSeccomp(t *testing.T) {
	s := mustRun(t, &specs.Process{NoNewPrivileges: true}, nil)
	s.want(t, "NoNewPrivs", "1")
	if s.Seccomp != "admin false, no_new_privs 1" {
		t.Errorf("the filter was installed with %s", s.Seccomp)
	}
	s = mustRun(t, &specs.Process{}, nil)
	if s.Seccomp != "admin true, no_new_privs 0" {
		t.Errorf("the filter was installed with %s", s.Seccomp)
	}
}

func TestLimitsReachTheProgram(t *testing.T) {
	adj := 500
	s := mustRun(t, &specs.Process{OOMScoreAdj: &adj, Rlimits: []specs.POSIXRlimit{
		{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 0},
	}}, nil)
	// The test binary, as each program of Go's, has raised the soft limit.
	if l := s.Limits[unix.RLIMIT_NOFILE]; l.Max != 200 {
		t.Errorf("open files are limited to %+v", l)
	}
	if l := s.Limits[unix.RLIMIT_CORE]; l.Max != 0 {
		t.Errorf("core files are limited to %+v", l)
	}
	if s.OOM != "500" {
		t.Errorf("the OOM score is adjusted by %s", s.OOM)
	}
}

func TestWhatTakesCAPSYSRESOURCE(t *testing.T) {
	have, err := held()
	if err != nil {
		t.Fatal(err)
	}
	if have.effective&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		t.Skip("the caller has CAP_SYS_RESOURCE")
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MSGQUEUE, &now); err != nil || now.Max > 1<<40 {
		t.Skip("there is no limit to raise")
	}
	p := &specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_MSGQUEUE", Hard: now.Max + 1}}}
	_, err = run(t, &task{Settings: Settings{Process: p}, Steps: all[2:]}, 0)
	for _, want := range []string{"process.rlimits[0]", "RLIMIT_MSGQUEUE", "CAP_SYS_RESOURCE", fmt.Sprint(now.Max)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %s", err, want)
		}
	}
	low := -1000
	_, err = run(t, &task{Settings: Settings{Process: &specs.Process{OOMScoreAdj: &low}}, Steps: all[2:]}, 0)
	if err == nil || !strings.Contains(err.Error(), "process.oomScoreAdj") || !strings.Contains(err.Error(), "CAP_SYS_RESOURCE") {
		t.Errorf("error %v, want one that says what it takes", err)
	}
}

func TestSchedulingReachesTheProgram(t *testing.T) {
	s := mustRun(t, &specs.Process{
		Scheduler:  &specs.Scheduler{Policy: specs.SchedBatch, Nice: 7, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}},
		IOPriority: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6},
	}, nil)
	if s.Sched.Policy != unix.SCHED_BATCH || s.Sched.Nice != 7 || s.Sched.Flags&unix.SCHED_FLAG_RESET_ON_FORK == 0 {
		t.Errorf("scheduling is %+v", s.Sched)
	}
	if s.IO != 2<<13|6 {
		t.Errorf("the I/O priority is %#x", s.IO)
	}
	for _, c := range []specs.Scheduler{
		{Policy: specs.SchedFIFO, Priority: 3},
		{Policy: specs.SchedRR, Priority: 4},
		// Without the flag the program could make no threads.
		{Policy: specs.SchedDeadline, Runtime: 1e6, Deadline: 1e9, Period: 2e9, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}},
	} {
		s, err := run(t, &task{Settings: Settings{ID: "id", Process: &specs.Process{Scheduler: &c}}, Steps: []string{"outside", "become"}}, 0)
		if err != nil {
			// Hosts may be without real-time processor time for the cgroup.
			if !strings.Contains(err.Error(), "process.scheduler") || !strings.Contains(err.Error(), string(c.Policy)) {
				t.Error(err)
			}
			continue
		}
		policy, _ := (&Settings{Process: &specs.Process{Scheduler: &c}}).scheduling()
		if s.Sched.Policy != policy.Policy || s.Sched.Priority != uint32(c.Priority) || c.Runtime != 0 && (s.Sched.Runtime != c.Runtime || s.Sched.Deadline != c.Deadline || s.Sched.Period != c.Period) {
			t.Errorf("%s: scheduling is %+v", c.Policy, s.Sched)
		}
	}
}

func TestPersonalityMemoryAndKeyring(t *testing.T) {
	s := mustRun(t, &specs.Process{}, &specs.Linux{
		Personality:  &specs.LinuxPersonality{Domain: specs.PerLinux32},
		MemoryPolicy: &specs.LinuxMemoryPolicy{Mode: specs.MpolDefault},
	})
	if s.Person != 8 {
		t.Errorf("the personality is %#x", s.Person)
	}
	if !strings.Contains(s.Keyring, ";_ses.id") && s.Keyring != "" {
		t.Errorf("the session keyring is %q", s.Keyring)
	}
	_, err := run(t, &task{Settings: Settings{Process: &specs.Process{}, Linux: &specs.Linux{
		MemoryPolicy: &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "4000"},
	}}, Steps: []string{"become"}}, 0)
	if err == nil || !strings.Contains(err.Error(), "linux.memoryPolicy") {
		t.Errorf("error %v, want one that names linux.memoryPolicy", err)
	}
	s, err = run(t, &task{Settings: Settings{Process: &specs.Process{}, Linux: &specs.Linux{
		MemoryPolicy: &specs.LinuxMemoryPolicy{Mode: specs.MpolPreferred, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}},
	}}, Steps: []string{"become"}}, 0)
	switch {
	case err != nil && strings.Contains(err.Error(), unix.ENOSYS.Error()):
	case err != nil:
		t.Error(err)
	case s.Memory != unix.MPOL_PREFERRED|unix.MPOL_F_STATIC_NODES:
		t.Errorf("the memory policy is %#x", s.Memory)
	}
}

func TestKeyringOfTheCallerIsKept(t *testing.T) {
	own, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, unix.KEY_SPEC_SESSION_KEYRING)
	if err != nil {
		t.Skipf("the test has no session keyring: %v", err)
	}
	s, err := run(t, &task{Settings: Settings{ID: "id", NoNewKeyring: true}, Steps: all}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if s.Keyring != own {
		t.Errorf("the session keyring is %q, the caller's %q", s.Keyring, own)
	}
}

// TestKeyringOfAStranger: names of keyrings are everybody's, and a keyring that
// another user has given the container's name is not taken for it.
func TestKeyringOfAStranger(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become others")
	}
	id := fmt.Sprintf("squatted-%d", os.Getpid())
	cmd := exec.Command("/proc/self/exe", id)
	cmd.Env = append(os.Environ(), role+"=squat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if said, _ := bufio.NewReader(out).ReadString('\n'); said != "there\n" {
		t.Skipf("another user can't make a keyring: %q", said)
	}
	s, err := run(t, &task{Settings: Settings{ID: id}, Steps: all}, 0)
	if err == nil {
		t.Fatalf("the container has the keyring %q", s.Keyring)
	}
	if !strings.Contains(err.Error(), "user 65534") {
		t.Error(err)
	}
}

// squat makes a keyring with a container's name that all may search, and keeps it
// until standard input ends.
func squat() {
	id, err := unix.KeyctlJoinSessionKeyring("_ses." + os.Args[1])
	if err == nil {
		err = unix.KeyctlSetperm(id, 0x3f3f3f3f)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("there")
	io.Copy(io.Discard, os.Stdin)
}

func TestAffinity(t *testing.T) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	one := 0
	for !set.IsSet(one) {
		one++
	}
	p := &specs.Process{ExecCPUAffinity: &specs.CPUAffinity{Final: fmt.Sprint(one)}}
	s, err := run(t, &task{Settings: Settings{Process: p, Exec: true}, Steps: []string{"affinity", "become"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.want(t, "Cpus_allowed_list", fmt.Sprint(one))
	// A first process has no affinity of an exec, nor its caller's.
	s, err = run(t, &task{Settings: Settings{Process: p}, Steps: []string{"affinity", "become"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if set.Count() > 1 && s.Status["Cpus_allowed_list"] == fmt.Sprint(one) {
		t.Error("a first process is bound as an exec would be")
	}
	p.ExecCPUAffinity.Final = "4000"
	if _, err := run(t, &task{Settings: Settings{Process: p, Exec: true}, Steps: []string{"affinity"}}, 0); err == nil || !strings.Contains(err.Error(), "process.execCPUAffinity.final") {
		t.Errorf("error %v for a processor that is not there", err)
	}
}

func TestSysctlsAreTheNamespaces(t *testing.T) {
	before, err := os.ReadFile("/proc/sys/kernel/shmmax")
	if err != nil {
		t.Fatal(err)
	}
	l := &specs.Linux{Sysctl: map[string]string{"kernel.shmmax": "123456", "net.ipv4.ip_forward": "1"}}
	s, err := run(t, &task{Settings: Settings{Linux: l}, Steps: []string{"sysctls", "become"}}, unix.CLONE_NEWIPC|unix.CLONE_NEWNET)
	if err != nil {
		t.Fatal(err)
	}
	if s.Sysctl["kernel/shmmax"] != "123456" || s.Sysctl["net/ipv4/ip_forward"] != "1" {
		t.Errorf("the namespaces have %v", s.Sysctl)
	}
	if after, _ := os.ReadFile("/proc/sys/kernel/shmmax"); !bytes.Equal(before, after) {
		t.Errorf("the host's kernel.shmmax has become %s", after)
	}
	for key, value := range map[string]string{"net.no.such": "1", "kernel.shmmax": "many"} {
		l := &specs.Linux{Sysctl: map[string]string{key: value}}
		_, err := run(t, &task{Settings: Settings{Linux: l}, Steps: []string{"sysctls"}}, unix.CLONE_NEWIPC|unix.CLONE_NEWNET)
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("error %v for %s=%s", err, key, value)
		}
	}
}

func TestGroupsInAUserNamespaceOfOne(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become others")
	}
	for name, test := range map[string]struct {
		gids []uint32
		want string
	}{
		"none": {nil, ""},
		"some": {[]uint32{5}, "process.user.additionalGids"},
	} {
		in, _ := json.Marshal(task{Settings: Settings{Process: &specs.Process{User: specs.User{AdditionalGids: test.gids}}}, Steps: []string{"become"}})
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), role+"=as")
		cmd.Stdin = bytes.NewReader(in)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if test.want == "" && err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		if test.want != "" && (err == nil || !strings.Contains(string(out), test.want)) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
