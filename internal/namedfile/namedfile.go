// Package namedfile opens the files that users name by flags, and says what to do where
// that fails. It must not know the flags.
package namedfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Open is os.OpenFile with the cure in its error.
func Open(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, Explain(err, flag&os.O_CREATE != 0))
	}
	return f, nil
}

// Explain adds to the error of a file that was to be opened, or made, what to do. It leaves
// the path out.
func Explain(err error, made bool) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	cure := ""
	switch errno {
	case unix.ENOENT:
		cure = "correct the path"
		if made {
			cure = "make its directory first, or correct the path"
		}
	case unix.ENOTDIR:
		cure = "what stands before the last / must be a directory"
	case unix.EISDIR, unix.EEXIST:
		cure = "name a file in it"
	case unix.ENAMETOOLONG:
		cure = "shorten the name"
	case unix.EACCES, unix.EPERM, unix.EROFS:
		cure = "name a file that the caller may read"
		if made {
			cure = "name a file that the caller may write to"
		}
	case unix.ENOSPC, unix.EDQUOT:
		cure = "make room there, or name a file elsewhere"
	case unix.ENXIO: // a pipe that nobody reads
		cure = "name a file"
	default:
		return errno
	}
	return fmt.Errorf("%w: %s", errno, cure)
}
