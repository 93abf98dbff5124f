package hostfs

import "golang.org/x/sys/unix"

// Dir is a handle of a directory on the host, given by a Host. For Local it
// is a descriptor, most often an O_PATH one.
type Dir int

// Host makes the calls that a FileSystem needs on one tree of the host. Every
// name is a single component, never "." or ".."; where it says so, the empty
// name means the directory itself. A final symbolic link is never followed.
// Errors are errno values. Methods are safe for concurrent use.
//
// Local makes the calls in the sentry itself. The interface is narrow so that
// a process outside of the sentry's walls can do it instead: descriptors are
// handed over only by Open and Create.
type Host interface {
	// Root is the handle of the top directory, which CloseDir gives back too.
	Root() Dir
	// Walk opens a subdirectory. ENOTDIR, ELOOP for a symbolic link.
	Walk(dir Dir, name string) (Dir, error)
	// CloseDir gives a handle of Walk's back.
	CloseDir(dir Dir)

	// Stat returns all that the host knows of a name, or of dir itself if name
	// is empty. (By value: a pointer through an interface would allocate.)
	Stat(dir Dir, name string) (unix.Statx_t, error)
	// StatPath is Stat of a path of several names below dir, none of them "..";
	// ENAMETOOLONG if it is long. The directories on the way may have become
	// symbolic links and are followed then, out of the tree too. So the result
	// serves for one thing only: to see that the path leads to what it led to
	// before, which the caller recognizes.
	StatPath(dir Dir, path string) (unix.Statx_t, error)
	// Statfs tells about the file system that a name is on, or dir itself if
	// name is empty.
	Statfs(dir Dir, name string) (unix.Statfs_t, error)
	// Readlink returns the target of a symbolic link.
	Readlink(dir Dir, name string) (string, error)
	// Open opens a regular file, or with an empty name dir itself for
	// reading its entries. flags are O_RDONLY, O_WRONLY or O_RDWR, or
	// O_RDONLY|O_DIRECTORY for a subdirectory and nothing else. The caller
	// has looked lately and seen a regular file; what has taken its place since
	// is opened without waiting, at most, and refused with ENXIO. The caller
	// owns the descriptor, and learns what file was opened.
	Open(dir Dir, name string, flags int) (int, unix.Statx_t, error)
	// Handle makes a subdirectory's descriptor of Open's a handle as well:
	// CloseDir then closes both.
	Handle(fd int) Dir

	// Create makes a regular file, opened O_RDWR. EEXIST if the name is taken.
	Create(dir Dir, name string, mode uint32) (int, error)
	// Mkdir makes a directory.
	Mkdir(dir Dir, name string, mode uint32) error
	// Mknod makes a FIFO, a socket's name, or the character device 0/0, which
	// is an overlay's whiteout and opens nothing. EPERM for other kinds.
	Mknod(dir Dir, name string, mode uint32) error
	// Symlink makes a symbolic link.
	Symlink(target string, dir Dir, name string) error
	// Link makes another name for oldName.
	Link(oldDir Dir, oldName string, newDir Dir, newName string) error
	// Unlink removes a name: a directory's if isDir is set, else any other.
	Unlink(dir Dir, name string, isDir bool) error
	// Rename is renameat2(2).
	Rename(oldDir Dir, oldName string, newDir Dir, newName string, flags uint32) error

	// Chmod, Chown and Utimes change a name's attributes, or dir's own if
	// name is empty. An ID of all ones is left as it is, and so is a time
	// whose Nsec is unix.UTIME_OMIT.
	Chmod(dir Dir, name string, mode uint32) error
	Chown(dir Dir, name string, uid, gid uint32) error
	Utimes(dir Dir, name string, times *[2]unix.Timespec) error
}
