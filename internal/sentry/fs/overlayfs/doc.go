// Package overlayfs lays a writable file system over others that it leaves
// unchanged, as Linux's overlayfs does: what the upper layer has hides what
// the lower ones have under the same name, directories of all layers merge,
// and a lower file is copied up before it changes.
//
// The marks in the upper layer are Linux's too: a character device 0/0 is a
// whiteout (the name is removed), the extended attribute
// trusted.overlay.opaque on a directory says that nothing below it shows, and
// trusted.overlay.origin keeps the inode number of what was copied up.
//
// As on Linux without redirect_dir, a directory that has lower parts cannot
// be renamed (EXDEV; mv(1) copies then), and copying up a file with several
// links breaks them. Unlike on Linux, a description that was opened for
// reading before the copy sees what is written after it.
//
// It works on vfs.Inode alone and knows no particular file system.
//
// Lock order: node.copying (parent's before child's is never held: a parent
// is copied up first), FileSystem.mu, then the layers' own.
package overlayfs
