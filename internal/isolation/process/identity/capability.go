package identity

import (
	"fmt"
	"log/slog"
	"math/bits"
	"strings"

	"coffer/internal/oci/linuxname"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// capabilities are the sets that a process is to have: bit n stands for
// capability n.
type capabilities struct {
	bounding, effective, inheritable, permitted, ambient uint64
}

// capabilities are those of the process, without those that nobody can have:
// unknown names, of which package oci has warned, and what the calling thread
// lacks itself, with a warning, as by other runtimes.
func (s *Settings) capabilities() (*capabilities, error) {
	c, err := s.wantedCapabilities()
	if err != nil {
		return nil, err
	}
	have, err := held()
	if err != nil {
		return nil, err
	}
	if lacks := (c.effective | c.permitted) &^ have.permitted; lacks != 0 {
		slog.Warn("process.capabilities: the container goes without what its caller has not itself", "capabilities", names(lacks))
	}
	c.permitted &= have.permitted
	c.effective &= have.permitted
	c.bounding &= have.bounding
	// What a program may inherit must lie within the bounding set, or have
	// been inheritable before (capabilities(7)).
	c.inheritable &= c.bounding | have.inheritable
	if lacks := c.ambient &^ (c.permitted & c.inheritable); lacks != 0 {
		slog.Warn("process.capabilities.ambient: Linux makes ambient only what is permitted and inheritable, too; the container goes without the rest", "capabilities", names(lacks))
		c.ambient &^= lacks
	}
	return c, nil
}

// wantedCapabilities are those of the spec. A process without any field has
// none.
func (s *Settings) wantedCapabilities() (*capabilities, error) {
	wanted := s.Process.Capabilities
	if wanted == nil {
		wanted = &specs.LinuxCapabilities{}
	}
	var c capabilities
	for _, set := range []struct {
		names []string
		to    *uint64
	}{
		{wanted.Bounding, &c.bounding}, {wanted.Effective, &c.effective}, {wanted.Inheritable, &c.inheritable},
		{wanted.Permitted, &c.permitted}, {wanted.Ambient, &c.ambient},
	} {
		*set.to, _ = linuxname.CapabilitySet(set.names)
	}
	if more := c.effective &^ c.permitted; more != 0 {
		return nil, fmt.Errorf("process.capabilities.effective has %s, which process.capabilities.permitted has not; a process can use only what it is permitted, so add it there", names(more))
	}
	return &c, nil
}

func (s *Settings) checkCapabilities() error {
	_, err := s.wantedCapabilities()
	return err
}

// names are the names of the capabilities in a set.
func names(set uint64) string {
	all := linuxname.Capabilities()
	var out []string
	for ; set != 0; set &= set - 1 {
		n := bits.TrailingZeros64(set)
		if n < len(all) {
			out = append(out, all[n])
		} else {
			out = append(out, fmt.Sprint(n))
		}
	}
	return strings.Join(out, ", ")
}

// held are the capabilities of the calling thread.
func held() (*capabilities, error) {
	var data [2]unix.CapUserData
	if err := unix.Capget(capHeader(), &data[0]); err != nil {
		return nil, fmt.Errorf("finding the capabilities of the process: %w", err)
	}
	set := func(lo, hi uint32) uint64 { return uint64(hi)<<32 | uint64(lo) }
	c := &capabilities{
		effective:   set(data[0].Effective, data[1].Effective),
		permitted:   set(data[0].Permitted, data[1].Permitted),
		inheritable: set(data[0].Inheritable, data[1].Inheritable),
	}
	for n := range 64 {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			break // EINVAL: the kernel has no more
		}
		if has == 1 {
			c.bounding |= 1 << n
		}
	}
	return c, nil
}

func capHeader() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
}

// bound takes out of the bounding set what is not to be in it, for good. It
// needs CAP_SETPCAP, so it comes before other users and sets.
func (c *capabilities) bound() error {
	for n := range 64 {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			return nil // EINVAL: the kernel has no more
		}
		if has == 0 || c.bounding&(1<<n) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
			return fmt.Errorf("taking %s out of the bounding set (process.capabilities.bounding): %w: this takes CAP_SETPCAP, which the caller lacks; run as root or in a user namespace", names(1<<n), err)
		}
	}
	return nil
}

// apply sets the other sets. It is for after the change of users, by which
// Linux changes them, too.
func (c *capabilities) apply() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clearing the ambient capabilities: %w", err)
	}
	var data [2]unix.CapUserData
	for i := range data {
		data[i] = unix.CapUserData{
			Effective:   uint32(c.effective >> (32 * i)),
			Permitted:   uint32(c.permitted >> (32 * i)),
			Inheritable: uint32(c.inheritable >> (32 * i)),
		}
	}
	if err := unix.Capset(capHeader(), &data[0]); err != nil {
		return fmt.Errorf("setting the capabilities of the process (process.capabilities), permitted %s, inheritable %s: %w", names(c.permitted), names(c.inheritable), err)
	}
	for set := c.ambient; set != 0; set &= set - 1 {
		n := bits.TrailingZeros64(set)
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
			return fmt.Errorf("making %s ambient (process.capabilities.ambient): %w", names(1<<n), err)
		}
	}
	return nil
}
