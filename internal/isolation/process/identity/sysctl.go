package identity

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"coffer/internal/isolation/process/rootfs"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// namespaced says which namespace a sysctl belongs to: all whose path is a
// name, or begins with one that ends in a slash. All others are the host's.
var namespaced = []struct {
	name string
	of   specs.LinuxNamespaceType
}{
	{"kernel/msgmax", specs.IPCNamespace},
	{"kernel/msgmnb", specs.IPCNamespace},
	{"kernel/msgmni", specs.IPCNamespace},
	{"kernel/sem", specs.IPCNamespace},
	{"kernel/shmall", specs.IPCNamespace},
	{"kernel/shmmax", specs.IPCNamespace},
	{"kernel/shmmni", specs.IPCNamespace},
	{"kernel/shm_rmid_forced", specs.IPCNamespace},
	{"fs/mqueue/", specs.IPCNamespace},
	{"net/", specs.NetworkNamespace},
	{"kernel/domainname", specs.UTSNamespace},
}

// Namespace is the namespace that a sysctl belongs to, which is written as in
// linux.sysctl, with dots or slashes; empty if it is the host's.
func Namespace(sysctl string) specs.LinuxNamespaceType {
	path := sysctlPath(sysctl)
	for _, n := range namespaced {
		if path == n.name || strings.HasSuffix(n.name, "/") && strings.HasPrefix(path, n.name) {
			return n.of
		}
	}
	return ""
}

// sysctlPath is the path of a sysctl below /proc/sys. As with sysctl(8) the
// first separator tells which one it is: what stands for the other within a
// name is that, as in net.ipv4.conf.eth0/100.forwarding.
func sysctlPath(key string) string {
	i := strings.IndexAny(key, "./")
	if i < 0 || key[i] == '/' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
}

func (s *Settings) checkSysctls() error {
	for _, key := range slices.Sorted(maps.Keys(s.linux().Sysctl)) {
		field := fmt.Sprintf("linux.sysctl %q", key)
		path := sysctlPath(key)
		if path == "" || strings.ContainsRune(key, 0) || slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool {
			return part == "" || part == "." || part == ".."
		}) {
			return fmt.Errorf("%s is no name of a sysctl", field)
		}
		if path == "kernel/hostname" {
			return fmt.Errorf("%s is the host name; set it by the field hostname", field)
		}
		of := Namespace(key)
		if of == "" {
			return fmt.Errorf("%s is not separate for each namespace, so it would change the host; set it there, and leave it out here", field)
		}
		if err := s.ownNamespace(of); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	return nil
}

// ownNamespace refuses sysctls of a namespace that is the host's.
func (s *Settings) ownNamespace(of specs.LinuxNamespaceType) error {
	i := slices.IndexFunc(s.linux().Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == of })
	if i < 0 {
		return fmt.Errorf("the container shares the host's %s namespace, which it would change; give it one of its own in linux.namespaces", of)
	}
	path := s.linux().Namespaces[i].Path
	if path == "" {
		return nil
	}
	file := map[specs.LinuxNamespaceType]string{specs.IPCNamespace: "ipc", specs.NetworkNamespace: "net", specs.UTSNamespace: "uts"}[of]
	var theirs, ours unix.Stat_t
	if err := unix.Stat(path, &theirs); err != nil {
		return fmt.Errorf("seeing whose namespace linux.namespaces[%d].path (%s) is: %w", i, path, err)
	}
	if err := unix.Stat("/proc/self/ns/"+file, &ours); err != nil {
		return fmt.Errorf("finding the host's %s namespace: %w", of, err)
	}
	if theirs.Dev == ours.Dev && theirs.Ino == ours.Ino {
		return fmt.Errorf("linux.namespaces[%d].path (%s) is the host's own %s namespace, which it would change", i, path, of)
	}
	return nil
}

// Sysctls writes linux.sysctl below /proc/sys of the container. They are
// those of the namespaces of the calling thread.
func (s *Settings) Sysctls() error {
	for _, key := range slices.Sorted(maps.Keys(s.linux().Sysctl)) {
		value := s.linux().Sysctl[key]
		if Namespace(key) == "" {
			return fmt.Errorf("linux.sysctl %q is not separate for each namespace", key)
		}
		err := writeSysctl(sysctlPath(key), value)
		switch {
		case errors.Is(err, os.ErrNotExist):
			err = fmt.Errorf("%w: this kernel has no such sysctl, or not in this namespace", err)
		case errors.Is(err, unix.EINVAL):
			err = fmt.Errorf("%w: the kernel does not take this value", err)
		}
		if err != nil {
			return fmt.Errorf("setting linux.sysctl %q to %q: %w", key, value, err)
		}
	}
	return nil
}

func writeSysctl(path, value string) error {
	f, err := rootfs.OpenProc("sys/"+path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	// In one write: the kernel takes what comes later for another value.
	_, err = f.WriteString(value)
	return err
}
