package identity

import (
	"errors"
	"fmt"

	"coffer/internal/oci/linuxname"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Modes and flags of set_mempolicy(2).
var (
	memoryModes = map[specs.MemoryPolicyModeType]int{
		specs.MpolDefault: unix.MPOL_DEFAULT, specs.MpolBind: unix.MPOL_BIND, specs.MpolInterleave: unix.MPOL_INTERLEAVE,
		specs.MpolWeightedInterleave: unix.MPOL_WEIGHTED_INTERLEAVE, specs.MpolPreferred: unix.MPOL_PREFERRED,
		specs.MpolPreferredMany: unix.MPOL_PREFERRED_MANY, specs.MpolLocal: unix.MPOL_LOCAL,
	}
	memoryFlags = map[specs.MemoryPolicyFlagType]int{
		specs.MpolFNumaBalancing: unix.MPOL_F_NUMA_BALANCING, specs.MpolFRelativeNodes: unix.MPOL_F_RELATIVE_NODES,
		specs.MpolFStaticNodes: unix.MPOL_F_STATIC_NODES,
	}
)

// memoryPolicy is what set_mempolicy(2) takes for linux.memoryPolicy.
func (s *Settings) memoryPolicy() (mode int, nodes unix.CPUSetDynamic, err error) {
	p := s.linux().MemoryPolicy
	mode, ok := memoryModes[p.Mode]
	if !ok {
		return 0, nil, fmt.Errorf("linux.memoryPolicy.mode is %q, which is no policy for memory", p.Mode)
	}
	for i, name := range p.Flags {
		flag, ok := memoryFlags[name]
		if !ok {
			return 0, nil, fmt.Errorf("linux.memoryPolicy.flags[%d] is %q, which is no flag", i, name)
		}
		mode |= flag
	}
	none := p.Mode == specs.MpolDefault || p.Mode == specs.MpolLocal
	switch {
	case none && p.Nodes != "":
		return 0, nil, fmt.Errorf("linux.memoryPolicy.nodes is %q; %s is for all nodes, so leave it out", p.Nodes, p.Mode)
	case p.Nodes == "" && !none && p.Mode != specs.MpolPreferred:
		return 0, nil, fmt.Errorf("linux.memoryPolicy.nodes is empty; %s needs nodes, such as 0-1", p.Mode)
	case p.Nodes == "":
		return mode, nil, nil
	}
	words, err := linuxname.CPUSet(p.Nodes) // nodes are listed as processors are
	if err != nil {
		return 0, nil, fmt.Errorf("linux.memoryPolicy.nodes is %q, which is no list of memory nodes such as 0-3,7", p.Nodes)
	}
	return mode, mask(words), nil
}

func (s *Settings) checkMemoryPolicy() error {
	if s.linux().MemoryPolicy == nil {
		return nil
	}
	_, _, err := s.memoryPolicy()
	return err
}

// setMemoryPolicy says on which memory nodes the process gets its memory.
func (s *Settings) setMemoryPolicy() error {
	if s.linux().MemoryPolicy == nil {
		return nil
	}
	mode, nodes, err := s.memoryPolicy()
	if err != nil {
		return err
	}
	err = unix.SetMemPolicyDynamic(mode, nodes)
	switch {
	case errors.Is(err, unix.ENOSYS):
		err = fmt.Errorf("%w: this kernel knows no memory nodes; leave it out", err)
	case errors.Is(err, unix.EINVAL):
		err = fmt.Errorf("%w: this kernel does not know the mode or a flag, or none of the nodes is there and allowed by the container's cgroup (linux.resources.cpu.mems)", err)
	}
	if err != nil {
		return fmt.Errorf("setting linux.memoryPolicy (%s): %w", s.linux().MemoryPolicy.Mode, err)
	}
	return nil
}

func (s *Settings) checkPersonality() error {
	p := s.linux().Personality
	if p == nil {
		return nil
	}
	if _, ok := linuxname.Personality(string(p.Domain)); !ok {
		return fmt.Errorf("linux.personality.domain is %q; it must be LINUX or LINUX32", p.Domain)
	}
	if len(p.Flags) > 0 {
		return fmt.Errorf("linux.personality.flags has %q; the spec defines no flag, so leave it out", p.Flags[0])
	}
	return nil
}

// setPersonality sets the execution domain: personality(2).
func (s *Settings) setPersonality() error {
	p := s.linux().Personality
	if p == nil {
		return nil
	}
	number, ok := linuxname.Personality(string(p.Domain))
	if !ok {
		return fmt.Errorf("linux.personality.domain is %q, which is no domain", p.Domain)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, uintptr(number), 0, 0); errno != 0 {
		return fmt.Errorf("setting linux.personality to %s: %w", p.Domain, errno)
	}
	return nil
}
