package rootfs

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may lead through, as on Linux
// (path_resolution(7)).
const maxLinks = 40

// pathFlags opens a file to be named by its descriptor only.
const pathFlags = unix.O_PATH | unix.O_CLOEXEC

// lookup opens what a path in the container leads to, as a process whose root
// is root would, with resolve (RESOLVE_*) in addition. It follows symbolic
// links, which cannot lead out of root, but no magic links of procfs, which
// could.
func lookup(root int, name string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolve,
	}
	// EAGAIN says that a rename somewhere on the host, or in a hostile
	// container that shares a volume, made it impossible to say whether ".."
	// leads out of root.
	for range 128 {
		fd, err := unix.Openat2(root, name, &how)
		switch err {
		case unix.EAGAIN, unix.EINTR:
			continue
		case unix.ENOSYS:
			return -1, fmt.Errorf("openat2: %w (a root file system is made safely only with it: Linux 5.6 or later, and no seccomp filter that refuses it)", err)
		}
		return fd, err
	}
	return -1, fmt.Errorf("%w: something keeps renaming directories while they are walked", unix.EAGAIN)
}

// cleanPath makes an absolute path of one that a spec names: a relative one is
// relative to the root (runtime-spec, "Mounts").
func cleanPath(name string) string { return path.Clean("/" + name) }

// linked says whether symbolic links may lead to a destination.
type linked bool

// makeFile opens what a path in the container leads to, and makes it first if
// it is missing: a directory or an empty file, and what directories it lies
// in. A symbolic link to what is missing leads to where it is made.
func makeFile(root int, name string, dir bool, links linked) (int, error) {
	resolve, left := uint64(0), maxLinks
	if !links {
		resolve, left = unix.RESOLVE_NO_SYMLINKS, 0
	}
	fd, err := lookup(root, name, pathFlags, resolve)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	w, err := newWalk(root, left)
	if err != nil {
		return -1, err
	}
	defer w.close()
	if err := w.walk(name, dir); err != nil {
		return -1, err
	}
	return w.take(), nil
}

// makeParent opens the directory that a path in the container lies in, made
// if it is missing, and returns the name that the path ends in.
func makeParent(root int, name string) (dir int, base string, err error) {
	name = cleanPath(name)
	if name == "/" {
		return -1, "", errors.New("it is the root itself")
	}
	dir, err = makeFile(root, path.Dir(name), true, true)
	return dir, path.Base(name), err
}

// walk goes along a path one component at a time, each looked up in a
// directory that is open, without following links: these it reads and goes
// along itself. It keeps the directories on the way, since ".." leads back to
// the one that it came through, wherever that has been moved to meanwhile.
type walk struct {
	open  []int // from the root to where it is
	links int   // how many more may lead on
}

func newWalk(root, links int) (*walk, error) {
	fd, err := unix.Openat(root, ".", pathFlags|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &walk{open: []int{fd}, links: links}, nil
}

// here is the last file that the walk came to.
func (w *walk) here() int { return w.open[len(w.open)-1] }

// back goes back, but not above the first keep files.
func (w *walk) back(keep int) {
	for len(w.open) > keep {
		unix.Close(w.here())
		w.open = w.open[:len(w.open)-1]
	}
}

func (w *walk) close() { w.back(0) }

// take returns where the walk is, which its taker closes.
func (w *walk) take() int {
	fd := w.here()
	w.open = w.open[:len(w.open)-1]
	return fd
}

// walk goes along name and makes what is missing: directories, and at its end
// a file unless dir.
func (w *walk) walk(name string, dir bool) error {
	rest := strings.Split(name, "/")
	for len(rest) > 0 {
		var part string
		part, rest = rest[0], rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			w.back(max(1, len(w.open)-1))
			continue
		}
		// What a slash follows, be it a link's last, is a directory.
		fd, err := w.step(part, dir || len(rest) > 0)
		if err != nil {
			return err
		}
		target, err := readLink(fd)
		if err != nil {
			w.open = append(w.open, fd) // not a link
			continue
		}
		unix.Close(fd)
		if w.links--; w.links < 0 {
			return unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			w.back(1)
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// step opens one component where the walk is, and makes it if it is missing.
func (w *walk) step(part string, dir bool) (int, error) {
	// Somebody could keep removing what is made here.
	for range 16 {
		fd, err := unix.Openat(w.here(), part, pathFlags|unix.O_NOFOLLOW, 0)
		if err != unix.ENOENT {
			return fd, err
		}
		if dir {
			err = unix.Mkdirat(w.here(), part, 0o755)
		} else {
			err = unix.Mknodat(w.here(), part, unix.S_IFREG|0o644, 0)
		}
		if err != nil && err != unix.EEXIST {
			return -1, fmt.Errorf("making it, as it is missing: %w", because(err,
				cure{unix.EROFS, "what it would lie in is read-only: make it in the image, or list this mount before the one that is read-only"},
				cure{unix.EACCES, "the container's root user may not write there"},
				cure{unix.EPERM, "its file system lets nothing be made there: make it in the image"},
				cure{unix.ENOENT, "its file system lets nothing be made there, or somebody removed the directory"}))
		}
	}
	return -1, fmt.Errorf("%w: something keeps removing it", unix.ENOENT)
}

// readLink reads the link that fd, opened with O_NOFOLLOW, is. It fails with
// ENOENT for what is none (readlink(2), "the empty string").
func readLink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
