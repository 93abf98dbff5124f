// Package environ completes a program's environment as container runtimes do, for
// all walls alike: each variable once, and a home directory. It must not know
// where a program runs.
package environ

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Complete returns the variables of env, of each the last value, and HOME, which
// home tells, if there is none or it is empty.
func Complete(env []string, home func() string) []string {
	out := make([]string, 0, len(env)+1)
	index := make(map[string]int, len(env))
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if i, ok := index[name]; ok {
			out[i] = v
			continue
		}
		index[name] = len(out)
		out = append(out, v)
	}
	if i, ok := index["HOME"]; ok && strings.TrimPrefix(out[i], "HOME=") != "" {
		return out
	} else if ok {
		out = slices.Delete(out, i, i+1)
	}
	return append(out, "HOME="+home())
}

// SearchPath returns the directories in which a program is looked for, PATH of its
// environment; if that is not set, where Linux distributions have programs, as
// execvp(3) allows.
func SearchPath(env []string) string {
	for _, v := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			return value
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

// passwdMax is how much of a container's /etc/passwd is read, in bytes.
const passwdMax = 1 << 20

// Home looks for a user's home directory in a file in the form of passwd(5). It
// is / for users who are not there.
func Home(passwd io.Reader, uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	lines := bufio.NewScanner(io.LimitReader(passwd, passwdMax))
	for lines.Scan() {
		f := strings.Split(lines.Text(), ":")
		if len(f) >= 6 && f[2] == id && strings.HasPrefix(f[5], "/") {
			return f[5]
		}
	}
	return "/"
}
