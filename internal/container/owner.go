package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkOwner refuses a container's directory that others could have made, or put
// in its place. By what lies there processes are ended, cgroups removed and hooks
// run, with all that the caller may do: whoever writes it would be the caller. What
// is not there yet is in order.
func (s *Store) checkOwner(dir string) error {
	for _, d := range []struct {
		path string
		look func(string) (fs.FileInfo, error)
	}{
		{s.root, os.Stat}, // may be a link, such as /var/run
		{dir, os.Lstat},
	} {
		st, err := d.look(d.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the directory of containers: %w (--root names another one)", err)
		}
		if err := ownedByUs(st); err != nil {
			return fmt.Errorf("%s %w, so what it says of containers cannot be trusted: name another directory with --root, in one that nobody else may write to", d.path, err)
		}
	}
	return nil
}

// othersWrite is the right of everybody to write. Even in a sticky directory as
// /tmp they could make the directory of a container that is not there yet.
const othersWrite = 0o002

// ownedByUs says why a directory is not the caller's alone, or root's.
func ownedByUs(st fs.FileInfo) error {
	owner := int(st.Sys().(*syscall.Stat_t).Uid)
	switch {
	case owner != os.Geteuid() && owner != 0:
		return fmt.Errorf("belongs to user %d", owner)
	case st.IsDir() && st.Mode()&othersWrite != 0:
		return errors.New("can be written to by everybody")
	}
	return nil
}
