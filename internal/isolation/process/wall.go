package process

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"coffer/internal/isolation"
	"coffer/internal/isolation/process/identity"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// New returns the wall.
func New() isolation.Wall { return wall{} }

type wall struct{}

// Check says what of a request this host can't do.
func (wall) Check(r *isolation.Request) error {
	spec := r.Spec
	if spec.Linux == nil {
		return errors.New("linux: config.json has no such part: this wall makes Linux containers")
	}
	if err := checkHost(); err != nil {
		return err
	}
	if err := checkMounts(spec); err != nil {
		return err
	}
	for i, ns := range spec.Linux.Namespaces {
		k, ok := kindOf(ns.Type)
		if !ok {
			return fmt.Errorf("linux.namespaces[%d]: type %q is not known", i, ns.Type)
		}
		if _, err := os.Lstat("/proc/self/ns/" + k.name); err != nil {
			return fmt.Errorf("linux.namespaces[%d]: the host's kernel has no %s namespaces: leave it out, or use a kernel with them", i, ns.Type)
		}
	}
	if newNamespace(spec, specs.UserNamespace) {
		if !mapsRoot(spec.Linux.UIDMappings) {
			return errors.New("linux.uidMappings: ID 0 of the container must be mapped: it is as that user that the container is made")
		}
		if !mapsRoot(spec.Linux.GIDMappings) {
			return errors.New("linux.gidMappings: ID 0 of the container must be mapped: it is as that group that the container is made")
		}
	}
	if len(spec.Linux.NetDevices) > 0 && !hasNamespace(spec, specs.NetworkNamespace) {
		return errors.New(`linux.netDevices: the container has the host's network: add {"type": "network"} to linux.namespaces`)
	}
	if spec.Linux.IntelRdt != nil {
		return errors.New("linux.intelRdt: control of caches and memory bandwidth is not supported: leave it out")
	}
	if err := checkNotify(spec.Linux.Seccomp); err != nil {
		return err
	}
	if err := checkMemory(spec.Linux.Resources); err != nil {
		return err
	}
	return settings(r.ID, spec, false).Check()
}

// minMemory is less than what init takes to start, in bytes. In a cgroup of a
// few pages the first process ends before it has executed init, while it shares
// its memory with coffer: Linux, to gain that memory, would end both.
const minMemory = 1 << 20

func checkMemory(r *specs.LinuxResources) error {
	if r == nil || r.Memory == nil || r.Memory.Limit == nil {
		return nil
	}
	if n := *r.Memory.Limit; n > 0 && n < minMemory {
		return fmt.Errorf("linux.resources.memory.limit: %d bytes are too little: a container takes more than %d MiB to start in, 10 are enough", n, minMemory>>20)
	}
	return nil
}

// checkNotify refuses to ask an agent about the calls by which it is told that
// it will be asked.
func checkNotify(p *specs.LinuxSeccomp) error {
	if p == nil {
		return nil
	}
	for i, rule := range p.Syscalls {
		for _, call := range []string{"sendmsg", "recvmsg"} {
			if rule.Action == specs.ActNotify && slices.Contains(rule.Names, call) {
				return fmt.Errorf("linux.seccomp.syscalls[%d]: %s can't have the action %s: by it the agent gets the filter's listener, and would be waited for before", i, call, specs.ActNotify)
			}
		}
	}
	return nil
}

// settings are what the identity of a container's process depends on.
func settings(id string, spec *specs.Spec, exec bool) *identity.Settings {
	return &identity.Settings{ID: id, Process: spec.Process, Linux: spec.Linux, Exec: exec, Rootless: oneGroup(spec)}
}

// oneGroup reports whether the container's user namespace is one where
// writeIDMaps forbids setgroups(2).
func oneGroup(spec *specs.Spec) bool {
	return os.Geteuid() != 0 && onlyOwn(spec.Linux.GIDMappings, os.Getegid())
}

// Signal sends a signal to the container's first process, or to all.
func (w wall) Signal(c *isolation.Container, sig unix.Signal, all bool) error {
	if !all {
		return c.Init.Signal(sig)
	}
	if !c.Cgroup.None() {
		return c.Cgroup.Kill(sig)
	}
	pids, err := namespaceMembers(c.Init)
	if err != nil {
		return err
	}
	for _, p := range pids {
		if err := p.Signal(sig); err != nil && err != unix.ESRCH {
			return fmt.Errorf("sending %s to process %d: %w", unix.SignalName(sig), p.PID, err)
		}
	}
	return nil
}
