package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coffer/internal/isolation/kernel"
	"coffer/internal/sentry/boot"

	"golang.org/x/sys/unix"
)

// openTree opens a directory or file to be donated to a sandbox. The path is
// resolved here, once; after that only the descriptor counts.
func openTree(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be opened: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// duplicate donates a descriptor that coffer itself keeps. A closed one is
// replaced by /dev/null, so that the program's descriptors 0 to 2 exist.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err == unix.EBADF {
		return os.OpenFile(os.DevNull, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("duplicating %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// openBind parses and opens HOST[:GUEST][:ro|rw].
func openBind(spec string) (m boot.Mount, f *os.File, err error) {
	host, guest, write, err := parseBind(spec)
	if err != nil {
		return m, nil, err
	}
	if m, f, err = openMount(host, guest, write); err != nil {
		return m, nil, fmt.Errorf("--bind %s: %w", spec, err)
	}
	return m, f, nil
}

// openMount opens a directory or regular file of the host that is to be shown
// at guest, or at its own path if that is empty.
func openMount(host, guest string, write bool) (m boot.Mount, f *os.File, err error) {
	abs, err := filepath.Abs(host)
	if err != nil {
		return m, nil, err
	}
	if guest == "" {
		guest = abs
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil, fmt.Errorf("%w (it must exist on the host: make it, or correct the path)", err)
	} else if err != nil {
		return m, nil, err
	}
	m = boot.Mount{Path: guest, Write: write}
	st, err := os.Stat(real)
	switch {
	case err != nil:
	case st.Mode().IsRegular():
		// A file is donated as a name in its directory: opening it for
		// reading and writing needs one.
		m.Name = filepath.Base(real)
		f, err = openTree(filepath.Dir(real))
	case st.IsDir():
		f, err = openTree(real)
	default:
		err = fmt.Errorf("%s is neither a directory nor a regular file", abs)
	}
	return m, f, err
}

// splitBind splits at colons. A backslash before a colon or another backslash
// makes it a part of a path.
func splitBind(spec string) []string {
	parts, part := []string{}, []byte{}
	for i := 0; i < len(spec); i++ {
		switch c := spec[i]; {
		case c == '\\' && i+1 < len(spec) && (spec[i+1] == ':' || spec[i+1] == '\\'):
			i++
			part = append(part, spec[i])
		case c == ':':
			parts, part = append(parts, string(part)), nil
		default:
			part = append(part, c)
		}
	}
	return append(parts, string(part))
}

// kernels are where programs expect what only the sandbox's own kernel can give.
var kernels = []string{"/proc", "/dev"}

func parseBind(spec string) (host, guest string, write bool, err error) {
	parts := splitBind(spec)
	if n := len(parts); n > 1 && (parts[n-1] == "ro" || parts[n-1] == "rw") {
		write = parts[n-1] == "rw"
		parts = parts[:n-1]
	}
	switch {
	case len(parts) > 2:
		return "", "", false, fmt.Errorf("--bind %q has too many colons: it is HOST[:GUEST][:ro|rw], and \\: stands for a colon in a path", spec)
	case parts[0] == "":
		return "", "", false, fmt.Errorf("--bind %q names no host path: it is HOST[:GUEST][:ro|rw]", spec)
	case len(parts) == 2:
		if !filepath.IsAbs(parts[1]) {
			return "", "", false, fmt.Errorf("--bind %q: the path in the sandbox, %q, is not absolute (or was meant as ro or rw; \\: stands for a colon in a path)", spec, parts[1])
		}
		guest = filepath.Clean(parts[1])
		if guest == "/" {
			return "", "", false, fmt.Errorf("--bind %q: / is the root file system; use --rootfs for another one", spec)
		}
	}
	at := guest
	if at == "" {
		if at, err = filepath.Abs(parts[0]); err != nil {
			return "", "", false, err
		}
	}
	if slices.Contains(kernels, at) {
		return "", "", false, fmt.Errorf("--bind %q would hide the sandbox's own %s, which programs need: bind it to another place, such as /mnt", spec, at)
	}
	return parts[0], guest, write, nil
}

// environment adds --env's variables to the present ones.
func environment(base, changes []string) ([]string, error) {
	out := append([]string(nil), base...)
	for _, c := range changes {
		name, _, set := strings.Cut(c, "=")
		if name == "" {
			return nil, fmt.Errorf("--env %q has no name: it is NAME=VALUE or NAME", c)
		}
		if !set {
			v, ok := os.LookupEnv(name)
			if !ok {
				continue
			}
			c = name + "=" + v
		}
		kept := out[:0]
		for _, e := range out {
			if !strings.HasPrefix(e, name+"=") {
				kept = append(kept, e)
			}
		}
		out = append(kept, c)
	}
	return out, nil
}

// parseMemory reads a size such as 512M or 2G; "" is no limit.
func parseMemory(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := parseSize(s)
	if err != nil {
		return 0, fmt.Errorf("--memory %q is not a size: write for example 512M or 2G", s)
	}
	if n >= kernel.MinMemory {
		return n, nil
	}
	return 0, fmt.Errorf("--memory %s is too little: a sandbox needs at least %dM", s, kernel.MinMemory>>20)
}

func checkHostname(h string) error {
	if h == "" || len(h) > 64 {
		return fmt.Errorf("--hostname %q must have 1 to 64 characters", h)
	}
	for _, r := range h {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", r) {
			return fmt.Errorf("--hostname %q has the character %q: letters, digits, '-', '.' and '_' are allowed", h, r)
		}
	}
	return nil
}
