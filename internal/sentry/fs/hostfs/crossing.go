package hostfs

import "golang.org/x/sys/unix"

// A tree of the host may have other file systems mounted in it. Those that
// hold files are shown; those through which the host's kernel speaks are not,
// or a guest that finds the way to them (by unmounting its own /proc, say)
// would read and set the host's affairs with the sentry's privileges.

// hostPowers are the types of file system that are not shown (statfs(2)).
var hostPowers = map[int64]bool{
	unix.AAFS_MAGIC: true, unix.BDEVFS_MAGIC: true, unix.BINDERFS_SUPER_MAGIC: true,
	unix.BINFMTFS_MAGIC: true, unix.BPF_FS_MAGIC: true, unix.CGROUP_SUPER_MAGIC: true,
	unix.CGROUP2_SUPER_MAGIC: true, unix.DEBUGFS_MAGIC: true, unix.DEVPTS_SUPER_MAGIC: true,
	unix.EFIVARFS_MAGIC: true, unix.NSFS_MAGIC: true, unix.OPENPROM_SUPER_MAGIC: true,
	unix.PID_FS_MAGIC: true, unix.PROC_SUPER_MAGIC: true, unix.PSTOREFS_MAGIC: true,
	unix.RDTGROUP_SUPER_MAGIC: true, unix.SECURITYFS_MAGIC: true, unix.SELINUX_MAGIC: true,
	unix.SMACK_MAGIC: true, unix.SYSFS_MAGIC: true, unix.TRACEFS_MAGIC: true,
	configfsMagic: true, mqueueMagic: true, fuseCtlMagic: true, rpcPipeMagic: true,
}

// Types that x/sys/unix does not have.
const (
	configfsMagic = 0x62656570
	mqueueMagic   = 0x19800202
	fuseCtlMagic  = 0x65735543
	rpcPipeMagic  = 0x67596969
)

// crosses reports whether child, found in directory dir, is on another mount.
func (dir identity) crosses(child identity) bool {
	return dir.mount != child.mount || dir.devMajor != child.devMajor || dir.devMinor != child.devMinor
}

// bar decides whether a mount's top may be looked into. What is barred looks
// like an empty directory, or cannot be opened; so does all in it, and what
// the host does not tell about.
func (n *inode) bar(h *descriptor, name string, child *inode) {
	st, err := n.fs.host.Statfs(Dir(h.fd), name)
	if err != nil || hostPowers[st.Type] {
		child.barred.Store(true)
	}
}
