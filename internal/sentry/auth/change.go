package auth

import (
	"slices"

	"golang.org/x/sys/unix"
)

// NoID is the ID -1: in calls that set several IDs it leaves one as it is.
const NoID = ^uint32(0)

// Bits of SecureBits (capabilities(7)); each lock is the bit after.
const (
	SecNoRoot         = 1 << 0
	SecNoSetuidFixup  = 1 << 2
	SecKeepCaps       = 1 << 4
	SecNoAmbientRaise = 1 << 6
	// SecLocks are the bits that lock the bit below each.
	SecLocks = 0xaa
	SecAll   = 0xff
)

// The methods below change a copy that has not been published (see Clone), as
// the calls of the same names do; IDs are the sentry's. They return EPERM for what the credentials
// don't allow, EINVAL for IDs that are none.

// SetUID is setuid(2).
func (c *Credentials) SetUID(uid uint32) error {
	if uid == NoID {
		return unix.EINVAL
	}
	old := *c
	switch {
	case c.CanHere(unix.CAP_SETUID):
		c.RUID, c.EUID, c.SUID = uid, uid, uid
	case uid == c.RUID || uid == c.SUID:
		c.EUID = uid
	default:
		return unix.EPERM
	}
	c.FSUID = uid
	c.fixCaps(&old)
	return nil
}

// SetGID is setgid(2).
func (c *Credentials) SetGID(gid uint32) error {
	if gid == NoID {
		return unix.EINVAL
	}
	switch {
	case c.CanHere(unix.CAP_SETGID):
		c.RGID, c.EGID, c.SGID = gid, gid, gid
	case gid == c.RGID || gid == c.SGID:
		c.EGID = gid
	default:
		return unix.EPERM
	}
	c.FSGID = gid
	return nil
}

// SetREUID is setreuid(2).
func (c *Credentials) SetREUID(ruid, euid uint32) error {
	old := *c
	if !c.CanHere(unix.CAP_SETUID) {
		if ruid != NoID && ruid != old.RUID && ruid != old.EUID ||
			euid != NoID && euid != old.RUID && euid != old.EUID && euid != old.SUID {
			return unix.EPERM
		}
	}
	if ruid != NoID {
		c.RUID = ruid
	}
	if euid != NoID {
		c.EUID = euid
	}
	if ruid != NoID || euid != NoID && euid != old.RUID {
		c.SUID = c.EUID
	}
	c.FSUID = c.EUID
	c.fixCaps(&old)
	return nil
}

// SetREGID is setregid(2).
func (c *Credentials) SetREGID(rgid, egid uint32) error {
	old := *c
	if !c.CanHere(unix.CAP_SETGID) {
		if rgid != NoID && rgid != old.RGID && rgid != old.EGID ||
			egid != NoID && egid != old.RGID && egid != old.EGID && egid != old.SGID {
			return unix.EPERM
		}
	}
	if rgid != NoID {
		c.RGID = rgid
	}
	if egid != NoID {
		c.EGID = egid
	}
	if rgid != NoID || egid != NoID && egid != old.RGID {
		c.SGID = c.EGID
	}
	c.FSGID = c.EGID
	return nil
}

// SetRESUID is setresuid(2).
func (c *Credentials) SetRESUID(ruid, euid, suid uint32) error {
	old := *c
	if !c.CanHere(unix.CAP_SETUID) {
		for _, id := range []uint32{ruid, euid, suid} {
			if id != NoID && id != old.RUID && id != old.EUID && id != old.SUID {
				return unix.EPERM
			}
		}
	}
	if ruid != NoID {
		c.RUID = ruid
	}
	if euid != NoID {
		c.EUID = euid
	}
	if suid != NoID {
		c.SUID = suid
	}
	c.FSUID = c.EUID
	c.fixCaps(&old)
	return nil
}

// SetRESGID is setresgid(2).
func (c *Credentials) SetRESGID(rgid, egid, sgid uint32) error {
	old := *c
	if !c.CanHere(unix.CAP_SETGID) {
		for _, id := range []uint32{rgid, egid, sgid} {
			if id != NoID && id != old.RGID && id != old.EGID && id != old.SGID {
				return unix.EPERM
			}
		}
	}
	if rgid != NoID {
		c.RGID = rgid
	}
	if egid != NoID {
		c.EGID = egid
	}
	if sgid != NoID {
		c.SGID = sgid
	}
	c.FSGID = c.EGID
	return nil
}

// fsCaps are the capabilities that follow the file system user ID.
const fsCaps CapSet = 1<<unix.CAP_CHOWN | 1<<unix.CAP_MKNOD | 1<<unix.CAP_DAC_OVERRIDE |
	1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID |
	1<<unix.CAP_LINUX_IMMUTABLE | 1<<unix.CAP_MAC_OVERRIDE

// SetFSUID is setfsuid(2); EPERM leaves the ID.
func (c *Credentials) SetFSUID(uid uint32) error {
	if uid == NoID || !c.CanHere(unix.CAP_SETUID) &&
		uid != c.RUID && uid != c.EUID && uid != c.SUID && uid != c.FSUID {
		return unix.EPERM
	}
	old := c.FSUID
	c.FSUID = uid
	if c.SecureBits&SecNoSetuidFixup == 0 {
		root := c.UserNS.ToUID(0)
		if old == root && uid != root {
			c.Effective &^= fsCaps
		}
		if old != root && uid == root {
			c.Effective |= c.Permitted & fsCaps
		}
	}
	return nil
}

// SetFSGID is setfsgid(2); EPERM leaves the ID.
func (c *Credentials) SetFSGID(gid uint32) error {
	if gid == NoID || !c.CanHere(unix.CAP_SETGID) &&
		gid != c.RGID && gid != c.EGID && gid != c.SGID && gid != c.FSGID {
		return unix.EPERM
	}
	c.FSGID = gid
	return nil
}

// SetGroups is setgroups(2). The list is kept in order, as getgroups(2) shows
// it.
func (c *Credentials) SetGroups(groups []uint32) error {
	if !c.CanHere(unix.CAP_SETGID) || !c.UserNS.MaySetGroups() {
		return unix.EPERM
	}
	c.Groups = slices.Clone(groups)
	slices.Sort(c.Groups)
	return nil
}

// fixCaps changes the capabilities as a change of user IDs from or to 0 does
// (capabilities(7), "Effect of user ID changes on capabilities").
func (c *Credentials) fixCaps(old *Credentials) {
	if c.SecureBits&SecNoSetuidFixup != 0 {
		return
	}
	root := c.UserNS.ToUID(0)
	hadRoot := old.RUID == root || old.EUID == root || old.SUID == root
	hasRoot := c.RUID == root || c.EUID == root || c.SUID == root
	if hadRoot && !hasRoot {
		if !c.KeepCaps {
			c.Permitted, c.Effective = 0, 0
		}
		c.Ambient = 0
	}
	if old.EUID == root && c.EUID != root {
		c.Effective = 0
	}
	if old.EUID != root && c.EUID == root {
		c.Effective = c.Permitted
	}
}

// SetCaps is capset(2).
func (c *Credentials) SetCaps(effective, permitted, inheritable CapSet) error {
	limit := c.Inheritable | c.Permitted
	if c.CanHere(unix.CAP_SETPCAP) {
		limit = c.Inheritable | c.Bounding | c.Permitted
	}
	if inheritable&^limit != 0 || inheritable&^(c.Inheritable|c.Bounding) != 0 ||
		permitted&^c.Permitted != 0 || effective&^permitted != 0 {
		return unix.EPERM
	}
	c.Effective, c.Permitted, c.Inheritable = effective, permitted, inheritable
	c.Ambient &= permitted & inheritable
	return nil
}

// DropBounding is PR_CAPBSET_DROP.
func (c *Credentials) DropBounding(capability int) error {
	if !c.CanHere(unix.CAP_SETPCAP) {
		return unix.EPERM
	}
	c.Bounding &^= 1 << uint(capability)
	return nil
}

// RaiseAmbient is PR_CAP_AMBIENT_RAISE.
func (c *Credentials) RaiseAmbient(capability int) error {
	if !c.Permitted.Has(capability) || !c.Inheritable.Has(capability) ||
		c.SecureBits&SecNoAmbientRaise != 0 {
		return unix.EPERM
	}
	c.Ambient |= 1 << uint(capability)
	return nil
}

// SetSecureBits is PR_SET_SECUREBITS.
func (c *Credentials) SetSecureBits(bits uint32) error {
	locked := c.SecureBits & SecLocks
	if bits&^SecAll != 0 || // unknown
		locked>>1&(c.SecureBits^bits) != 0 || // a locked bit would change
		locked&^bits != 0 || // a lock would be opened
		!c.CanHere(unix.CAP_SETPCAP) {
		return unix.EPERM
	}
	c.SecureBits = bits
	c.KeepCaps = bits&SecKeepCaps != 0
	return nil
}

// SetKeepCaps is PR_SET_KEEPCAPS.
func (c *Credentials) SetKeepCaps(on bool) error {
	if c.SecureBits&(SecKeepCaps<<1) != 0 { // locked
		return unix.EPERM
	}
	c.KeepCaps = on
	c.SecureBits &^= SecKeepCaps
	if on {
		c.SecureBits |= SecKeepCaps
	}
	return nil
}
