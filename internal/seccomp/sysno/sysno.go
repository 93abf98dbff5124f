// Package sysno knows the numbers of system calls by name on the architectures
// whose programs can run on the hosts that we know, for seccomp profiles.
//
// It costs nothing at start: the table is data of the binary.
package sysno

//go:generate go run coffer/internal/tools/sysnogen

import (
	"sort"

	"golang.org/x/sys/unix"
)

// Arch is an architecture as a program sees it.
type Arch int

// The architectures.
const (
	AMD64 Arch = iota
	X86        // 32-bit programs on amd64, too
	ARM64
	X32 // 64-bit registers and 32-bit pointers on amd64
	count
)

// X32Bit is set in the numbers of x32 calls; otherwise they look to seccomp(2)
// like calls of amd64.
const X32Bit = 0x40000000

// Call is one system call.
type Call struct {
	Name string
	// numbers are those on each Arch, -1 where there is no such call.
	numbers [count]int16
}

// Find returns the call of a name; nil if no architecture has one.
func Find(name string) *Call {
	i := sort.Search(len(calls), func(i int) bool { return calls[i].Name >= name })
	if i == len(calls) || calls[i].Name != name {
		return nil
	}
	return &calls[i]
}

// Number returns the number of the call on a, as seccomp(2) sees it.
func (c *Call) Number(a Arch) (nr uint32, ok bool) {
	n := c.numbers[a]
	if n < 0 {
		return 0, false
	}
	nr = uint32(n)
	if a == X32 {
		nr |= X32Bit
	}
	return nr, true
}

// All are all calls, in the order of their names.
func All() []Call { return calls[:] }

// Audit returns the AUDIT_ARCH_* that seccomp(2) shows for calls of a.
func (a Arch) Audit() uint32 {
	switch a {
	case X86:
		return unix.AUDIT_ARCH_I386
	case ARM64:
		return unix.AUDIT_ARCH_AARCH64
	}
	return unix.AUDIT_ARCH_X86_64
}

// Wide reports whether arguments have 64 bits on a. Those of x32 programs do in
// the registers, but what is above the lower 32 means nothing.
func (a Arch) Wide() bool { return a == AMD64 || a == ARM64 }
