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
// (Host file I/O on regular files may take as long as the host needs.)
//
// Lock order: FDTable.mu, FileDescription.mu (offset), rename lock,
// mount lock, Dentry.mu (parent before child), then a file system's own.
package vfs
