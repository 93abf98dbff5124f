package vfs

import (
	"coffer/internal/sentry/auth"

	"golang.org/x/sys/unix"
)

// ownership returns mode, with the file type, and owner of an inode.
func ownership(c Caller, ino Inode) (mode, uid, gid uint32, err error) {
	if p, ok := ino.(Permissioner); ok {
		mode, uid, gid = p.Permissions()
		return mode, uid, gid, nil
	}
	a, err := InodeFor(c, ino).Attr()
	return a.Mode, a.UID, a.GID, err
}

// permitted checks an inode against mask (unix.R_OK, W_OK, X_OK), as
// path_resolution(7), "Permissions", tells. EACCES if it is refused.
func permitted(c Caller, ino Inode, mask uint32) error {
	cred := c.Credentials()
	ino = InodeFor(c, ino)
	if a, ok := ino.(Accesser); ok {
		return a.Access(cred, mask)
	}
	mode, uid, gid, err := ownership(c, ino)
	if err != nil {
		return err
	}
	return ModeAllows(cred, mode, uid, gid, mask)
}

// ModeAllows checks a known mode, with the file type, and owner against mask
// (unix.R_OK, W_OK, X_OK), as path_resolution(7) tells. EACCES if it is refused.
func ModeAllows(cred *auth.Credentials, mode, uid, gid, mask uint32) error {
	bits := mode
	switch {
	case cred.FSUID == uid:
		bits >>= 6
	case mode>>3&mask == mode&mask: // the group makes no difference
	case cred.InGroup(gid):
		bits >>= 3
	}
	if bits&mask == mask {
		return nil
	}
	dir := mode&unix.S_IFMT == unix.S_IFDIR
	if cred.CanOver(unix.CAP_DAC_OVERRIDE, uid, gid) && (dir || mask&unix.X_OK == 0 || mode&0o111 != 0) {
		return nil
	}
	if cred.CanOver(unix.CAP_DAC_READ_SEARCH, uid, gid) && (mask == unix.R_OK || dir && mask&unix.W_OK == 0) {
		return nil
	}
	return unix.EACCES
}

// owns reports whether cred may do what only the owner may.
func owns(cred *auth.Credentials, uid uint32) bool {
	return cred.FSUID == uid || cred.CanOverUser(unix.CAP_FOWNER, uid)
}

// Access checks p against mask (unix.R_OK|W_OK|X_OK) for c's credentials,
// including read-only mounts (EROFS) and noexec.
func Access(c Caller, p Path, mask uint32) error {
	if mask&unix.W_OK != 0 && p.Mount.ReadOnly() && !special(p.Dentry.kind) {
		return unix.EROFS
	}
	if mask&unix.X_OK != 0 && p.Dentry.kind == unix.S_IFREG && p.Mount.NoExec() {
		return unix.EACCES
	}
	if mask == 0 {
		return nil
	}
	if err := permitted(c, p.Dentry.inode, mask); err != nil {
		return err
	}
	if a, ok := InodeFor(c, p.Dentry.inode).(AccessAsker); ok {
		return a.AskAccess(mask)
	}
	return nil
}

// special reports whether writing to an object does not write to its file
// system.
func special(kind uint32) bool {
	switch kind {
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		return true
	}
	return false
}

// mayCreate checks that the caller may make a name in directory p.
func mayCreate(c Caller, p Path) error {
	if p.Dentry.unlinked.Load() {
		return unix.ENOENT
	}
	return permitted(c, p.Dentry.inode, unix.W_OK|unix.X_OK)
}

// mayDelete checks that the caller may remove victim, a name in directory
// dir: with wantDir a directory, without it anything else. What is a mount point
// in the caller's namespace is EBUSY.
func (ns *MountNamespace) mayDelete(c Caller, dir, victim *Dentry, wantDir bool) error {
	cred := c.Credentials()
	if err := permitted(c, dir.inode, unix.W_OK|unix.X_OK); err != nil {
		return err
	}
	mode, uid, _, err := ownership(c, dir.inode)
	if err != nil {
		return err
	}
	if mode&unix.S_ISVTX != 0 && !owns(cred, uid) {
		_, uid, _, err := ownership(c, victim.inode)
		if err != nil {
			return err
		}
		if cred.FSUID != uid {
			return unix.EPERM
		}
	}
	if wantDir != victim.isDir() {
		if wantDir {
			return unix.ENOTDIR
		}
		return unix.EISDIR
	}
	if ns.isMountPoint(victim) {
		return unix.EBUSY
	}
	return nil
}

// ownerIn returns who owns a new inode in directory dir, and its mode: a
// set-group-ID directory hands down its group, and the bit to directories.
func ownerIn(c Caller, dir Inode, mode uint32) (Owner, uint32, error) {
	cred := c.Credentials()
	o := Owner{cred.FSUID, cred.FSGID}
	dmode, duid, dgid, err := ownership(c, dir)
	if err != nil {
		return o, mode, err
	}
	if dmode&unix.S_ISGID != 0 {
		o.GID = dgid
		if mode&unix.S_IFMT == unix.S_IFDIR {
			mode |= unix.S_ISGID
		} else if mode&(unix.S_ISGID|0o010) == unix.S_ISGID|0o010 && !cred.InGroup(dgid) && !cred.CanOver(unix.CAP_FSETID, duid, dgid) {
			mode &^= unix.S_ISGID
		}
	}
	return o, mode, nil
}
