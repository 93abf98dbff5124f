// Package vfs is the part of the file system that all file systems share:
// the path walk, dentries, mounts, open file descriptions, descriptor tables
// and locks. A file system implements Inode and File and knows nothing of
// paths, mounts or tasks.
//
// It must not know tasks, address spaces or any particular file system. The
// task on whose behalf something happens is seen only as a Caller.
//
// Nothing in vfs blocks waiting for an event: a File that cannot go on
// returns EAGAIN, and the system call layer waits through package waiter.
// (Host file I/O on regular files may take as long as the host needs, and the
// inodes and files that InodeFor and FileFor return may wait for a server of
// the guest's, on the caller's account: no lock but super.renameMu, Dentry.ops and a
// description's offset is held then, as on Linux, and who waits can be killed.)
//
// Lock order: FileDescription.mu (offset), super.renameMu, Dentry.ops (of a
// directory before one that lies in it; two that don't, by id), then a file
// system's own locks. Dentry.ops is the only one of these under which a file
// system is called. FDTable.mu, mountMu before super.mu, locks and watches are
// taken for a moment only, and nothing else is under them. References are
// dropped under no lock but Dentry.ops, since the last one calls the file
// system.
package vfs
