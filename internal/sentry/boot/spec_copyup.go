package boot

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// copyBlock is how much of a file is copied at once, in bytes.
const copyBlock = 256 << 10

// copyUp copies directories, regular files and links from one directory to
// another, an empty one: the option tmpcopyup. Devices and their like are left
// out.
func copyUp(c vfs.Caller, from, to vfs.Inode) error {
	type pair struct{ from, to vfs.Inode }
	buf := make([]byte, copyBlock)
	// A list and not a recursion, since an image decides the depth.
	for todo := []pair{{from, to}}; len(todo) > 0; {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		names, err := namesIn(c, d.from)
		if err != nil {
			return err
		}
		for _, name := range names {
			child, err := d.from.Lookup(name)
			if err == unix.ENOENT {
				continue // it has gone meanwhile
			}
			if err != nil {
				return err
			}
			made, err := copyOne(c, child, d.to, name, buf)
			if err != nil {
				return err
			}
			if made != nil {
				todo = append(todo, pair{child, made})
			}
		}
	}
	return nil
}

// namesIn lists a directory.
func namesIn(c vfs.Caller, dir vfs.Inode) (names []string, err error) {
	f, err := dir.Open(c, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Release()
	err = f.Readdir(c, 0, func(e vfs.DirEntry) bool {
		if e.Name != "." && e.Name != ".." {
			names = append(names, e.Name)
		}
		return true
	})
	return names, err
}

// copyOne copies one object, and of a directory only itself, which it returns.
func copyOne(c vfs.Caller, from, dir vfs.Inode, name string, buf []byte) (vfs.Inode, error) {
	a, err := from.Attr()
	if err != nil {
		return nil, err
	}
	owner := vfs.Owner{UID: a.UID, GID: a.GID}
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return dir.Mkdir(owner, name, a.Mode&0o7777)
	case unix.S_IFLNK:
		target, err := from.Readlink(c)
		if err == nil {
			_, err = dir.Symlink(owner, name, target)
		}
		return nil, err
	case unix.S_IFREG:
		to, err := dir.Create(owner, name, a.Mode&0o777)
		if err == nil {
			err = copyContents(c, from, to, buf)
		}
		if err == nil && a.Mode&0o7000 != 0 { // which writing would have cleared
			err = to.SetAttr(vfs.SetAttr{Which: vfs.SetMode, Mode: a.Mode & 0o7777})
		}
		return nil, err
	}
	return nil, nil
}

func copyContents(c vfs.Caller, from, to vfs.Inode, buf []byte) error {
	src, err := from.Open(c, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Release()
	dst, err := to.Open(c, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer dst.Release()
	for off := int64(0); ; {
		n, err := src.Read(c, buf, off)
		if n == 0 || err != nil {
			return err
		}
		for done := 0; done < n; {
			w, _, err := dst.Write(c, buf[done:n], off+int64(done), 0)
			if err != nil {
				return err
			}
			done += w
		}
		off += int64(n)
	}
}
