package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// copyUp copies a directory's content into another one, which is empty: what
// a tmpfs with tmpcopyup covers. Owners, modes, times, extended attributes,
// hard links and holes are kept. No link is followed.
func copyUp(from, to int) error {
	source, err := openFile(from, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("tmpcopyup: %w", err)
	}
	defer source.Close()
	target, err := openFile(to, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("tmpcopyup: %w", err)
	}
	defer target.Close()
	c := copier{top: target, links: map[inode]string{}}
	if err := c.directory(source, target, "."); err != nil {
		return fmt.Errorf("tmpcopyup: copying %w", because(err,
			cure{unix.ENOSPC, "the tmpfs is full: raise its option size or nr_inodes"},
			cure{unix.EPERM, "a user namespace may not make this: leave tmpcopyup out"}))
	}
	return nil
}

// copier copies a tree.
type copier struct {
	top *os.File
	// links is where below top the copies are of files that have more names.
	links map[inode]string
}

// inode identifies a file.
type inode struct{ dev, ino uint64 }

// openFile opens a file of a directory, without following links.
func openFile(dir int, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// directory copies what is in a directory; place is where below top that is.
// Errors begin with the name of what could not be copied.
func (c *copier) directory(from, to *os.File, place string) error {
	for {
		names, err := from.Readdirnames(256)
		for _, name := range names {
			if err := c.entry(from, to, name, path.Join(place, name)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
	}
}

// entry copies one file or tree.
func (c *copier) entry(from, to *os.File, name, place string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.subdirectory(from, to, name, place, &st)
	case unix.S_IFREG:
		err = c.file(from, to, name, place, &st)
	case unix.S_IFLNK:
		err = copyLink(from, to, name, &st)
	default:
		err = unix.Mknodat(int(to.Fd()), name, st.Mode, int(st.Rdev))
		if err == nil {
			err = unix.Fchownat(int(to.Fd()), name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
		}
	}
	if err == nil {
		err = setTimes(to, name, &st)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	return nil
}

func (c *copier) subdirectory(from, to *os.File, name, place string, st *unix.Stat_t) error {
	source, err := openFile(int(from.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	defer source.Close()
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	target, err := openFile(int(to.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	defer target.Close()
	if err := c.directory(source, target, place); err != nil {
		return err
	}
	if err := errors.Join(copyAttributes(source, target, st), setTimes(to, name, st)); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	return nil
}

func (c *copier) file(from, to *os.File, name, place string, st *unix.Stat_t) error {
	id := inode{st.Dev, st.Ino}
	if first, ok := c.links[id]; ok {
		return unix.Linkat(int(c.top.Fd()), first, int(to.Fd()), name, 0)
	}
	// It may be a FIFO by now, which would be waited for.
	source, err := openFile(int(from.Fd()), name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer source.Close()
	if !isFile(int(source.Fd())) {
		return errors.New("something replaced the file while it was copied")
	}
	target, err := openFile(int(to.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := copyData(source, target, st.Size); err != nil {
		return err
	}
	if st.Nlink > 1 {
		c.links[id] = place
	}
	return copyAttributes(source, target, st)
}

// copyData copies size bytes and leaves holes.
func copyData(from, to *os.File, size int64) error {
	if err := to.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return nil // a hole up to the end
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(int(from.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		end = min(end, size)
		if _, err := io.Copy(io.NewOffsetWriter(to, start), io.NewSectionReader(from, start, end-start)); err != nil {
			return err
		}
		at = end
	}
	return nil
}

func copyLink(from, to *os.File, name string, st *unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(from.Fd()), name, buf)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(buf[:n]), int(to.Fd()), name); err != nil {
		return err
	}
	return unix.Fchownat(int(to.Fd()), name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

// copyAttributes gives a copy its owner, mode and extended attributes, in an
// order in which none takes another away.
func copyAttributes(from, to *os.File, st *unix.Stat_t) error {
	if err := unix.Fchown(int(to.Fd()), int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(int(to.Fd()), st.Mode&0o7777); err != nil {
		return err
	}
	names := make([]byte, 64<<10) // XATTR_LIST_MAX
	n, err := unix.Flistxattr(int(from.Fd()), names)
	if err == unix.ENOTSUP {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing extended attributes: %w", err)
	}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Fgetxattr(int(from.Fd()), name, value)
		if err == nil {
			err = unix.Fsetxattr(int(to.Fd()), name, value[:n], 0)
		}
		// A tmpfs of before Linux 6.6 has no attributes of users.
		if err != nil && !(err == unix.ENOTSUP && strings.HasPrefix(name, "user.")) {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// setTimes gives a copy its times of access and modification.
func setTimes(dir *os.File, name string, st *unix.Stat_t) error {
	return unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
