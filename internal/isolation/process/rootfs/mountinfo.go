package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountInfo is a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mountInfo struct {
	root    string // the directory of the file system that is mounted
	point   string // where, seen from the process's root
	kind    string // of file system
	options string // those of the mount
	super   string // those of the file system
	tags    string // of propagation
}

// readMounts lists the mounts of this namespace, in the order of mounting.
func readMounts() ([]mountInfo, error) {
	data, err := readProc("thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(data)
}

// readProc reads a file of procfs.
func readProc(name string) ([]byte, error) {
	f, err := OpenProc(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func parseMounts(data []byte) ([]mountInfo, error) {
	var mounts []mountInfo
	for line := range bytes.Lines(data) {
		before, after, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " - ")
		a, b := strings.Fields(before), strings.Fields(after)
		if !ok || len(a) < 6 || len(b) < 2 {
			return nil, fmt.Errorf("/proc/self/mountinfo: unexpected line %q", line)
		}
		mounts = append(mounts, mountInfo{
			root: unescape(a[3]), point: unescape(a[4]), options: a[5], tags: strings.Join(a[6:], " "),
			kind: b[0], super: b[len(b)-1],
		})
	}
	return mounts, nil
}

// unescape undoes the octal escapes (\040 is a space) in names.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// fdPath is the path of what a descriptor names, seen from the process's root.
func fdPath(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n := 0
	err := withProc(func() (err error) {
		n, err = unix.Readlink(fdName(fd), buf)
		return err
	})
	if err != nil {
		return "", err
	}
	name := string(buf[:n])
	if !strings.HasPrefix(name, "/") {
		return "", errors.New("a directory is out of sight: " + name)
	}
	return name, nil
}
