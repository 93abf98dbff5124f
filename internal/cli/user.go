package cli

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// umask returns this process's file mode creation mask, which can only be read
// by setting it.
func umask() uint32 {
	mask := unix.Umask(0o077)
	unix.Umask(mask)
	return uint32(mask)
}

// resolveUser turns --user's USER[:GROUP] into IDs, with names from the root
// file system's own /etc/passwd and /etc/group. "" is who runs coffer.
func resolveUser(spec, root string) (uid, gid uint32, groups []uint32, err error) {
	if spec == "" {
		list, err := os.Getgroups()
		if err != nil {
			return 0, 0, nil, err
		}
		for _, g := range list {
			groups = append(groups, uint32(g))
		}
		return uint32(os.Geteuid()), uint32(os.Getegid()), groups, nil
	}
	name, group, hasGroup := strings.Cut(spec, ":")
	for _, id := range []string{name, group} {
		if n, err := strconv.ParseUint(id, 10, 64); err == nil && n >= 1<<32-1 {
			return 0, 0, nil, fmt.Errorf("--user %s: %s is not a user or group ID: the largest is %d", spec, id, uint32(1<<32-2))
		}
	}
	passwd := filepath.Join(root, "etc/passwd")
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		uid = uint32(n)
		if f := lookUp(passwd, 2, name); f != nil {
			name = f[0]
			gid = number(f[3])
		}
	} else {
		f := lookUp(passwd, 0, name)
		if f == nil {
			return 0, 0, nil, fmt.Errorf("--user %s: there is no user %q in %s: give a number, or a user who is there", spec, name, passwd)
		}
		uid, gid = number(f[2]), number(f[3])
	}
	groupFile := filepath.Join(root, "etc/group")
	if hasGroup {
		if n, err := strconv.ParseUint(group, 10, 32); err == nil {
			return uid, uint32(n), nil, nil
		}
		f := lookUp(groupFile, 0, group)
		if f == nil {
			return 0, 0, nil, fmt.Errorf("--user %s: there is no group %q in %s: give a number, or a group that is there", spec, group, groupFile)
		}
		return uid, number(f[2]), nil, nil
	}
	eachLine(groupFile, 4, func(f []string) bool {
		for _, member := range strings.Split(f[3], ",") {
			if member == name {
				groups = append(groups, number(f[2]))
			}
		}
		return true
	})
	return uid, gid, groups, nil
}

// lookUp finds the line of a colon-separated file whose field has the value.
func lookUp(file string, field int, value string) (found []string) {
	eachLine(file, 4, func(f []string) bool {
		if f[field] == value {
			found = f
		}
		return found == nil
	})
	return found
}

func eachLine(file string, fields int, each func([]string) bool) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if parts := strings.Split(sc.Text(), ":"); len(parts) >= fields && !each(parts) {
			return
		}
	}
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 65534 // nobody: better than root for a broken line
	}
	return uint32(n)
}
