// Package auth holds what a task may do: its user and group IDs, its
// capabilities and the user namespace that they count in, as in
// credentials(7), capabilities(7) and user_namespaces(7). A Credentials value is
// immutable once published; a change makes a copy.
//
// Lock order: a UserNamespace's mu before its parent's is never taken; no other
// lock is taken with one held.
package auth

import (
	"slices"

	"golang.org/x/sys/unix"
)

// CapSet is a set of capabilities, bit n for capability number n.
type CapSet uint64

// AllCaps holds every capability that Linux 6.x knows (0 to CAP_LAST_CAP).
const AllCaps CapSet = 1<<(unix.CAP_LAST_CAP+1) - 1

// Has reports whether the set holds capability number c.
func (s CapSet) Has(c int) bool { return s>>uint(c)&1 != 0 }

// Credentials are a task's identities.
type Credentials struct {
	// UserNS is the user namespace in which the capabilities count.
	UserNS *UserNamespace

	RUID, EUID, SUID, FSUID uint32
	RGID, EGID, SGID, FSGID uint32
	Groups                  []uint32

	Permitted, Effective, Inheritable, Bounding, Ambient CapSet

	// SecureBits and NoNewPrivs are as in prctl(2).
	SecureBits uint32
	NoNewPrivs bool
	// KeepCaps is PR_SET_KEEPCAPS.
	KeepCaps bool
}

// New returns the credentials of a user: all capabilities for user 0, none
// for others.
func New(uid, gid uint32, groups []uint32) *Credentials {
	c := &Credentials{
		UserNS: Initial,
		RUID:   uid, EUID: uid, SUID: uid, FSUID: uid,
		RGID: gid, EGID: gid, SGID: gid, FSGID: gid,
		Groups: slices.Clone(groups), Bounding: AllCaps,
	}
	if uid == 0 {
		c.Permitted, c.Effective = AllCaps, AllCaps
	}
	return c
}

// Clone returns a copy that may be changed.
func (c *Credentials) Clone() *Credentials {
	n := *c
	n.Groups = slices.Clone(c.Groups)
	return &n
}

// InGroup reports whether gid is the file system group or a supplementary one.
func (c *Credentials) InGroup(gid uint32) bool {
	return c.FSGID == gid || slices.Contains(c.Groups, gid)
}
