package namedfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	const write = os.O_CREATE | os.O_WRONLY
	f, err := Open(file, write, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, c := range []struct {
		path string
		flag int
		is   error
		says string
	}{
		{dir + "/none/x", write, unix.ENOENT, "no such file or directory: make its directory first"},
		{dir + "/none", os.O_RDONLY, unix.ENOENT, "no such file or directory: correct the path"},
		{file + "/x", write, unix.ENOTDIR, "must be a directory"},
		{dir, write, unix.EISDIR, "is a directory: name a file in it"},
		{dir + "/" + strings.Repeat("x", 300), write, unix.ENAMETOOLONG, "shorten"},
		{"/proc/x", write, nil, "/proc/x: "},
	} {
		_, err := Open(c.path, c.flag, 0o600)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.HasPrefix(err.Error(), c.path+": ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want one with %q", c.path, err, c.says)
		}
	}
}
