package kernel

import (
	"fmt"
	"log/slog"
	"strings"

	"coffer/internal/oci/linuxname"
	"coffer/internal/seccomp/profile"
	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultUmask is a process's umask where the spec names none, as runc has it.
const defaultUmask = 0o022

// translateProcess says what a spec's process asks for, but for its open files.
// linux is the container's, whose filter and personality its processes have. An
// error names the field.
func translateProcess(p *specs.Process, linux *specs.Linux) (*boot.Process, error) {
	d := &boot.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd,
		UID: p.User.UID, GID: p.User.GID, Groups: p.User.AdditionalGids, Umask: defaultUmask,
		Attributes: &boot.Attributes{NoNewPrivileges: p.NoNewPrivileges, OOMScoreAdj: p.OOMScoreAdj},
	}
	if p.User.Umask != nil {
		d.Umask = *p.User.Umask
	}
	a := d.Attributes
	a.Capabilities = translateCapabilities(p.Capabilities)
	var err error
	if a.Limits, err = translateLimits(p.Rlimits); err != nil {
		return nil, err
	}
	if io := p.IOPriority; io != nil {
		if a.IOPriority, err = linuxname.IOPriority(string(io.Class), io.Priority); err != nil {
			return nil, fmt.Errorf("process.ioPriority: %w", err)
		}
	}
	if a.Scheduler, err = translateScheduler(p.Scheduler); err != nil {
		return nil, err
	}
	if cpus := p.ExecCPUAffinity; cpus != nil && cpus.Final != "" {
		if a.CPUs, err = linuxname.CPUSet(cpus.Final); err != nil {
			return nil, fmt.Errorf("process.execCPUAffinity.final: %w", err)
		}
	}
	if linux == nil {
		return d, nil
	}
	if p := linux.Personality; p != nil {
		var ok bool
		if a.Personality, ok = linuxname.Personality(string(p.Domain)); !ok {
			return nil, fmt.Errorf("linux.personality.domain: %q is none: it is LINUX or LINUX32", p.Domain)
		}
	}
	a.Seccomp, err = translateSeccomp(linux.Seccomp)
	return d, err
}

// translateCapabilities turns names into sets; without any a process has none.
// Names that are none are passed over; package oci has warned of them.
func translateCapabilities(c *specs.LinuxCapabilities) (sets boot.Capabilities) {
	if c == nil {
		return sets
	}
	for _, s := range []struct {
		names []string
		set   *uint64
	}{
		{c.Bounding, &sets.Bounding}, {c.Effective, &sets.Effective}, {c.Inheritable, &sets.Inheritable},
		{c.Permitted, &sets.Permitted}, {c.Ambient, &sets.Ambient},
	} {
		*s.set, _ = linuxname.CapabilitySet(s.names)
	}
	return sets
}

func translateLimits(list []specs.POSIXRlimit) ([]boot.Limit, error) {
	var limits []boot.Limit
	for i, l := range list {
		n, ok := linuxname.Rlimit(l.Type)
		switch {
		case !ok:
			return nil, fmt.Errorf("process.rlimits[%d].type: %q is no resource: they are %s", i, l.Type, strings.Join(linuxname.Rlimits(), ", "))
		case l.Soft > l.Hard:
			return nil, fmt.Errorf("process.rlimits[%d]: the soft limit %d of %s is above the hard one, %d", i, l.Soft, l.Type, l.Hard)
		}
		limits = append(limits, boot.Limit{Resource: n, Cur: l.Soft, Max: l.Hard})
	}
	return limits, nil
}

// translateScheduler turns names into numbers. The guest's kernel keeps them for
// its programs to see; scheduling is the host's.
func translateScheduler(s *specs.Scheduler) (*boot.Scheduler, error) {
	if s == nil {
		return nil, nil
	}
	policy, ok := linuxname.Policy(string(s.Policy))
	if !ok || s.Policy == specs.SchedISO {
		return nil, fmt.Errorf("process.scheduler.policy: %q is none that Linux has", s.Policy)
	}
	d := &boot.Scheduler{Policy: policy, Nice: s.Nice, Priority: s.Priority, Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period}
	for i, f := range s.Flags {
		flag, ok := linuxname.SchedulerFlag(string(f))
		switch {
		case !ok:
			return nil, fmt.Errorf("process.scheduler.flags[%d]: %q is none", i, f)
		case flag == unix.SCHED_FLAG_RESET_ON_FORK:
			d.ResetOnFork = true
		default:
			return nil, fmt.Errorf("process.scheduler.flags[%d]: the kernel wall does not know %s: use the process wall, or leave it out", i, f)
		}
	}
	return d, nil
}

// translateSeccomp compiles the profile for the guest's kernel to evaluate.
func translateSeccomp(p *specs.LinuxSeccomp) ([]unix.SockFilter, error) {
	if p == nil {
		return nil, nil
	}
	prog, err := profile.Compile(p)
	if err != nil || prog == nil {
		return nil, err
	}
	if prog.Notify {
		return nil, fmt.Errorf("linux.seccomp: SCMP_ACT_NOTIFY needs an agent on the host that looks into the process, which the kernel wall does not let it: use the process wall")
	}
	if len(prog.Unknown) > 0 {
		slog.Debug("linux.seccomp names calls that no architecture of the profile has", "names", strings.Join(prog.Unknown, " "))
	}
	return prog.Filter, nil
}
