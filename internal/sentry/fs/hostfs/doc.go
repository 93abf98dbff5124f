// Package hostfs shows files of the host to the guest.
//
// A FileSystem is one directory tree of the host, donated to the sentry as a
// descriptor of its top directory. From there on the host's tree is walked
// one component at a time with openat2(2) under RESOLVE_BENEATH,
// RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS; no path of the host is ever
// opened, neither at first nor again. (Whole paths serve to confirm that what is
// known already is still so: see Confirm.) The calls themselves are behind the
// interface Host, so that another process can make them.
//
// An inode remembers where it was last seen (its parent and name) and who it
// is (device, number and birth time). It owns no descriptor: descriptors of
// directories and of open files are shared and kept in bounded caches, and
// what a reopened name leads to is compared with who the inode is.
//
// NewFD shows a single descriptor, such as the standard input, of whatever
// kind it is.
//
// The package must not know tasks, mounts or paths. Permission is checked by
// vfs before, and by the host with the sentry's own credentials. The sentry's
// umask must be 0.
//
// Lock order: inode.mu or openFile's, then FileSystem.tree, then
// descriptorCache.mu and the table, which are leaves.
package hostfs
