package profile

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"coffer/internal/seccomp/sysno"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxRules bounds what a profile may have of rules, names of calls times
// conditions of a rule; a filter of bpf.MaxInstructions can't hold as many.
const maxRules = 1 << 16

// rule is a rule for one call: the verdict if all conditions hold.
type rule struct {
	ret        uint32
	conditions []condition
}

// section is what is compiled for one architecture.
type section struct {
	arch sysno.Arch
	// rules are in the profile's order. entries have, for each, the number of
	// its call in the upper half and its index in the lower: sorted, they are
	// in the order of calls and within a call in the profile's.
	rules   []*rule
	entries []uint64
	// last is the highest number that the profile names, if listed is set:
	// the architecture is one of linux.seccomp.architectures.
	last   uint32
	named  bool
	listed bool
}

// Compile compiles a profile. The error names the field. A nil profile gives a
// nil program, which Install takes for nothing to do.
func Compile(p *specs.LinuxSeccomp) (*Program, error) {
	if p == nil {
		return nil, nil
	}
	def, err := verdict(p.DefaultAction, p.DefaultErrnoRet, "defaultAction", "defaultErrnoRet")
	if err != nil {
		return nil, err
	}
	if def == unix.SECCOMP_RET_USER_NOTIF {
		return nil, errors.New("linux.seccomp.defaultAction is SCMP_ACT_NOTIFY: each call, even those by which the agent gets its listener, would wait for the agent; name the calls in linux.seccomp.syscalls")
	}
	out := &Program{}
	for i, name := range p.Flags {
		j := slices.IndexFunc(flags[:], func(f struct {
			name specs.LinuxSeccompFlag
			flag uint
		}) bool {
			return f.name == name
		})
		if j < 0 {
			return nil, fmt.Errorf("linux.seccomp.flags[%d] is %q, which is no flag; the flags are %s", i, name, strings.Join(flagNames(), ", "))
		}
		out.Flags |= flags[j].flag
	}
	sections, err := chosen(p.Architectures)
	if err != nil {
		return nil, err
	}
	if err := out.rules(p, def, sections); err != nil {
		return nil, err
	}
	if out.Notify && p.ListenerPath == "" {
		return nil, errors.New("linux.seccomp.listenerPath is empty, but a rule has the action SCMP_ACT_NOTIFY: name the socket of the agent that is to decide")
	}
	deny := def != unix.SECCOMP_RET_ALLOW && def != unix.SECCOMP_RET_LOG && def&unix.SECCOMP_RET_ACTION_FULL != unix.SECCOMP_RET_TRACE
	out.Filter, err = assemble(sections, def, deny)
	return out, err
}

// verdict is what a filter returns for an action.
func verdict(name specs.LinuxSeccompAction, errnoRet *uint, field, errnoField string) (uint32, error) {
	for _, a := range actions {
		if a.name != name {
			continue
		}
		switch {
		case !a.data && errnoRet == nil:
			return a.ret, nil
		case !a.data:
			return 0, fmt.Errorf("linux.seccomp.%s is set, but %s, the action, returns no error number; leave it out", errnoField, name)
		case errnoRet == nil:
			return a.ret | uint32(unix.EPERM), nil
		case *errnoRet > a.max:
			return 0, fmt.Errorf("linux.seccomp.%s is %d; with %s it can be %d at most", errnoField, *errnoRet, name, a.max)
		}
		return a.ret | uint32(*errnoRet), nil
	}
	return 0, fmt.Errorf("linux.seccomp.%s is %q, which is no action; the actions are %s", field, name, strings.Join(actionNames(), ", "))
}

// native is the host's own architecture.
func native() sysno.Arch {
	if runtime.GOARCH == "arm64" {
		return sysno.ARM64
	}
	return sysno.AMD64
}

// chosen are the sections of the architectures that a profile lists; the
// host's own is the first one.
func chosen(list []specs.Arch) ([]*section, error) {
	sections := []*section{{arch: native()}}
next:
	for i, name := range list {
		for _, a := range architectures {
			if a.name != name {
				continue
			}
			j := slices.IndexFunc(sections, func(s *section) bool { return s.arch == a.arch })
			if j < 0 {
				j = len(sections)
				sections = append(sections, &section{arch: a.arch})
			}
			sections[j].listed = true
			continue next
		}
		if !slices.Contains(foreign[:], name) {
			return nil, fmt.Errorf("linux.seccomp.architectures[%d] is %q, which is no architecture that the spec knows", i, name)
		}
	}
	return sections, nil
}

// rules puts the rules of a profile into the sections that have the calls.
func (out *Program) rules(p *specs.LinuxSeccomp, def uint32, sections []*section) error {
	total := 0
	for i, s := range p.Syscalls {
		at := func(field string) string { return fmt.Sprintf("syscalls[%d].%s", i, field) }
		if len(s.Names) == 0 {
			return fmt.Errorf("linux.seccomp.%s is empty: a rule must be for a call", at("names"))
		}
		ret, err := verdict(s.Action, s.ErrnoRet, at("action"), at("errnoRet"))
		if err != nil {
			return err
		}
		conditions, err := parseConditions(s.Args, i)
		if err != nil {
			return err
		}
		if total += len(s.Names) * (1 + len(s.Args)); total > maxRules {
			return fmt.Errorf("linux.seccomp.syscalls has more than %d rules, more than a filter can hold", maxRules)
		}
		if ret == unix.SECCOMP_RET_USER_NOTIF {
			if slices.Contains(s.Names, "write") {
				return fmt.Errorf("linux.seccomp.%s has write with SCMP_ACT_NOTIFY: the runtime's own report of the listener would wait for the agent, who does not have it yet; leave write out", at("names"))
			}
			out.Notify = true
		}
		var alternatives []*rule
		if repeated(conditions) {
			for _, c := range conditions {
				alternatives = append(alternatives, &rule{ret: ret, conditions: []condition{c}})
			}
		} else {
			alternatives = []*rule{{ret: ret, conditions: conditions}}
		}
		for _, name := range s.Names {
			if !add(sections, name, alternatives, def) && !slices.Contains(out.Unknown, name) {
				out.Unknown = append(out.Unknown, name)
			}
		}
	}
	return nil
}

// repeated reports whether two conditions are on one argument.
func repeated(conditions []condition) bool {
	var seen [6]bool
	for _, c := range conditions {
		if seen[c.index] {
			return true
		}
		seen[c.index] = true
	}
	return false
}

// add adds rules for a call to the sections that have it, and notes its number.
// It is false if none has. Rules with the default verdict are left out.
func add(sections []*section, name string, rules []*rule, def uint32) bool {
	decides := rules[0].ret != def
	known := false
	call := sysno.Find(name)
	for _, s := range sections {
		if call != nil {
			if nr, ok := call.Number(s.arch); ok {
				known = true
				s.add(nr, rules, decides)
			}
		}
		if s.arch != sysno.X86 {
			continue
		}
		if m, ok := multiplexed[name]; ok {
			known = true
			through, _ := sysno.Find(m.through).Number(s.arch)
			// The call's own arguments lie in memory, where no filter sees
			// them, or at other places. So a rule with conditions denies the
			// call if that is what it does, and else does nothing for it.
			r := &rule{ret: rules[0].ret, conditions: []condition{{op: equal, value: uint64(m.number), mask: ^uint64(0)}}}
			unsure := len(rules[0].conditions) > 0
			s.add(through, []*rule{r}, decides && (!unsure || stricter(r.ret, def)))
		}
	}
	return known
}

// stricter reports whether a verdict does not let through more than another:
// the order is that in which Linux chooses among filters.
func stricter(a, b uint32) bool {
	return int32(a&unix.SECCOMP_RET_ACTION_FULL) <= int32(b&unix.SECCOMP_RET_ACTION_FULL)
}

func (s *section) add(nr uint32, rules []*rule, decides bool) {
	s.last, s.named = max(s.last, nr), true
	if !decides {
		return
	}
	for _, r := range rules {
		s.entries = append(s.entries, uint64(nr)<<32|uint64(len(s.rules)))
		s.rules = append(s.rules, r)
	}
}
