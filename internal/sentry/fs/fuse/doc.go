// Package fuse is FUSE, file systems that a process of the guest serves: the
// device /dev/fuse, over which kernel and server exchange messages (fuse(4)),
// and the file system that mount(2) makes of an open device. The messages are
// those of <linux/fuse.h>, protocol 7.
//
// The server is hostile: it may answer nonsense, or never. What it writes is
// copied, bounded and checked before use, what nonsense it says is EIO to who
// asked, and who waits for it can be killed. Nothing but the caller's own task
// waits: the inodes that vfs holds answer from memory, and what they cannot
// answer is asked by the call that For returns (see vfs.ServedInode). Unlike
// other blocking calls one that waits for a server is not made again after a
// signal, because the server may have done already what it was asked for; it
// tells the server of the signal (INTERRUPT) and waits on, as on Linux. A task
// that is killed leaves, and what its request obtains is given back.
//
// Nothing of a file's contents is cached: each read and write goes to the
// server. A mapping shows a copy, made when the file is mapped.
//
// Lock order: device.mu; FileSystem.mu, then inode.mu; then connection.mu, then
// a device's waiter.Queue. None is held while a task waits.
package fuse
