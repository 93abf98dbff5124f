package identity

import (
	"slices"
	"strings"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// pointer is for the calls that x/sys has no function for.
func pointer[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }

func TestWhatCannotBeIsRefusedByName(t *testing.T) {
	low, high := -1001, 1001
	for want, s := range map[string]Settings{
		"process.rlimits[0].type":              {Process: &specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_X"}}}},
		"process.rlimits[1].type":              {Process: &specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CPU"}, {Type: "RLIMIT_CPU"}}}},
		"process.rlimits[0]: the soft":         {Process: &specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CPU", Soft: 2, Hard: 1}}}},
		"process.oomScoreAdj is -1001":         {Process: &specs.Process{OOMScoreAdj: &low}},
		"process.oomScoreAdj is 1001":          {Process: &specs.Process{OOMScoreAdj: &high}},
		"process.scheduler.policy is \"X\"":    {Process: &specs.Process{Scheduler: &specs.Scheduler{Policy: "X"}}},
		"process.scheduler.policy is SCHED_IS": {Process: &specs.Process{Scheduler: &specs.Scheduler{Policy: specs.SchedISO}}},
		"process.scheduler.priority is 0":      {Process: &specs.Process{Scheduler: &specs.Scheduler{Policy: specs.SchedFIFO}}},
		"process.scheduler.priority is 1":      {Process: &specs.Process{Scheduler: &specs.Scheduler{Policy: specs.SchedOther, Priority: 1}}},
		"process.scheduler.nice":               {Process: &specs.Process{Scheduler: &specs.Scheduler{Policy: specs.SchedOther, Nice: 20}}},
		"process.scheduler.flags[0]":           {Process: &specs.Process{Scheduler: &specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{"X"}}}},
		"runtime (5 ns)":                       {Process: &specs.Process{Scheduler: &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 5, Deadline: 4}}},
		"for SCHED_DEADLINE only":              {Process: &specs.Process{Scheduler: &specs.Scheduler{Policy: specs.SchedRR, Priority: 1, Period: 4}}},
		"process.ioPriority":                   {Process: &specs.Process{IOPriority: &specs.LinuxIOPriority{Class: "X"}}},
		"process.execCPUAffinity.initial":      {Process: &specs.Process{ExecCPUAffinity: &specs.CPUAffinity{Initial: "1-"}}},
		"process.execCPUAffinity.final":        {Process: &specs.Process{ExecCPUAffinity: &specs.CPUAffinity{Final: "x"}}},
		"process.user.additionalGids":          {Process: &specs.Process{User: specs.User{AdditionalGids: []uint32{1}}}, Rootless: true},
		"process.user":                         {Process: &specs.Process{User: specs.User{UID: ^uint32(0)}}},
		"process.capabilities.effective":       {Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Effective: []string{"CAP_KILL"}}}},
		"linux.personality.domain":             {Process: &specs.Process{}, Linux: &specs.Linux{Personality: &specs.LinuxPersonality{Domain: "X"}}},
		"linux.personality.flags":              {Process: &specs.Process{}, Linux: &specs.Linux{Personality: &specs.LinuxPersonality{Domain: "LINUX", Flags: []specs.LinuxPersonalityFlag{"X"}}}},
		"linux.memoryPolicy.mode":              {Process: &specs.Process{}, Linux: &specs.Linux{MemoryPolicy: &specs.LinuxMemoryPolicy{Mode: "X"}}},
		"linux.memoryPolicy.nodes is empty":    {Process: &specs.Process{}, Linux: &specs.Linux{MemoryPolicy: &specs.LinuxMemoryPolicy{Mode: specs.MpolBind}}},
		"linux.memoryPolicy.nodes is \"0\"":    {Process: &specs.Process{}, Linux: &specs.Linux{MemoryPolicy: &specs.LinuxMemoryPolicy{Mode: specs.MpolLocal, Nodes: "0"}}},
		"linux.memoryPolicy.flags[0]":          {Process: &specs.Process{}, Linux: &specs.Linux{MemoryPolicy: &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"X"}}}},
	} {
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %s", err, want)
		}
	}
}

func TestLabelsNeedTheirModule(t *testing.T) {
	if apparmorEnabled() || selinuxEnabled() {
		t.Skip("the host has a security module")
	}
	for want, p := range map[string]specs.Process{
		"process.apparmorProfile": {ApparmorProfile: "x"},
		"process.selinuxLabel":    {SelinuxLabel: "x"},
	} {
		s := Settings{Process: &p}
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
	s := Settings{Process: &specs.Process{ApparmorProfile: unconfined}}
	if err := s.Check(); err != nil {
		t.Errorf("unconfined on a host that confines nothing: %v", err)
	}
	if err := s.Labels(); err != nil {
		t.Error(err)
	}
}

func TestAppArmorProfileThatIsNotLoaded(t *testing.T) {
	if !apparmorEnabled() {
		t.Skip("AppArmor is not enabled on this host")
	}
	s := Settings{Process: &specs.Process{ApparmorProfile: "coffer-test-no-such-profile"}}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	_, err := run(t, &task{Settings: s, Steps: []string{"labels"}}, 0)
	if err == nil || !strings.Contains(err.Error(), "process.apparmorProfile") || !strings.Contains(err.Error(), "may not be loaded") {
		t.Errorf("error %v, want one that says that the profile may not be loaded", err)
	}
	s.Process.ApparmorProfile = unconfined
	if shown, err := run(t, &task{Settings: s, Steps: []string{"labels", "become"}}, 0); err != nil || shown.AppArmor != unconfined {
		t.Errorf("unconfined: %+v, %v", shown, err)
	}
}

func TestSysctlsAreRefusedByTheirNamespaces(t *testing.T) {
	namespaces := func(types ...specs.LinuxNamespaceType) []specs.LinuxNamespace {
		var out []specs.LinuxNamespace
		for _, n := range types {
			out = append(out, specs.LinuxNamespace{Type: n})
		}
		return out
	}
	every := namespaces(specs.IPCNamespace, specs.NetworkNamespace, specs.UTSNamespace)
	for _, test := range []struct {
		key  string
		has  []specs.LinuxNamespace
		want string
	}{
		{"kernel.shmmax", every, ""},
		{"kernel/shmmax", every, ""},
		{"fs.mqueue.msg_max", every, ""},
		{"kernel.domainname", every, ""},
		{"net.ipv4.conf.eth0/100.forwarding", every, ""},
		{"net/ipv4/conf/eth0.100/forwarding", every, ""},
		{"kernel.shmmax", namespaces(specs.NetworkNamespace), "shares the host's ipc namespace"},
		{"net.ipv4.ip_forward", namespaces(specs.IPCNamespace), "shares the host's network namespace"},
		{"net.ipv4.ip_forward", []specs.LinuxNamespace{{Type: specs.NetworkNamespace, Path: "/proc/self/ns/net"}}, "host's own network namespace"},
		{"net.ipv4.ip_forward", []specs.LinuxNamespace{{Type: specs.NetworkNamespace, Path: "/no/such"}}, "/no/such"},
		{"kernel.hostname", every, "field hostname"},
		{"kernel.sysrq", every, "would change the host"},
		{"vm.swappiness", every, "would change the host"},
		{"fs.mqueue", every, "would change the host"},
		{"kernel.shmmaxx", every, "would change the host"},
		{"net", every, "would change the host"},
		{"net/../kernel/sysrq", every, "no name"},
		{"net/ipv4//x", every, "no name"},
		{"net.ipv4/../../kernel.sysrq", every, "no name"},
		{"", every, "no name"},
		{"net.a\x00b", every, "no name"},
	} {
		s := Settings{Process: &specs.Process{}, Linux: &specs.Linux{Namespaces: test.has, Sysctl: map[string]string{test.key: "1"}}}
		err := s.checkSysctls()
		if test.want == "" && err != nil {
			t.Errorf("%q: %v", test.key, err)
		}
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: error %v, want one with %q", test.key, err, test.want)
		}
	}
}

// Whatever a key is, what is accepted lies below /proc/sys where a namespace's
// sysctls are.
func FuzzSysctl(f *testing.F) {
	for _, key := range []string{"net.ipv4.ip_forward", "net/../x", "kernel.shmmax", "net..", "fs.mqueue./x", "net.ipv4.conf.eth0/1.forwarding"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		s := Settings{Process: &specs.Process{}, Linux: &specs.Linux{
			Sysctl: map[string]string{key: "1"},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.IPCNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.UTSNamespace},
			},
		}}
		if s.checkSysctls() != nil {
			return
		}
		parts := strings.Split(sysctlPath(key), "/")
		if slices.Contains(parts, "..") || slices.Contains(parts, "") || len(parts) < 2 {
			t.Errorf("%q is taken for %q", key, parts)
		}
		if !slices.Contains([]string{"net", "kernel", "fs"}, parts[0]) {
			t.Errorf("%q is taken for %q", key, parts)
		}
	})
}
