package vfs

// LinkNamer is implemented by an Inode without a path that has a name for
// the links in /proc/PID/fd, such as "pipe:[123]".
type LinkNamer interface{ LinkName() string }
