package rootfs

import (
	"errors"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var errUnfinished = errors.New("rootfs: being written")

// OpenSources opens, in the parent, what the container's init cannot open: in
// a user namespace of its own it may lack the right to reach the sources of
// bind mounts and the root; and an ID-mapped mount can be made by the owner of
// the file system only. userns is the container's user namespace, nil if it
// has none of its own. Each file is a detached copy of a mount tree, to be
// donated to init and passed as Config.Sources under the same key (the index
// in spec.Mounts, or RootSource). It is called always, and returns nothing
// where init can help itself, as it must if the caller has no privileges
// (rootless).
func OpenSources(spec *specs.Spec, bundle string, userns *os.File) (map[int]*os.File, error) {
	return nil, errUnfinished
}

// Prepare makes all mounts, devices and links below the container's root,
// which remains below the old root. The caller is in the container's
// namespaces, the cgroup namespace included, and in its cgroup, and alone in
// its process.
func Prepare(cfg *Config) (*Root, error) { return nil, errUnfinished }

// Enter makes the container's root the process's root and working directory,
// and drops the old one.
func (r *Root) Enter() error { return errUnfinished }

// PTMX opens a new pseudoterminal's master in the container's own devpts,
// close-on-exec. It comes after Enter.
func (r *Root) PTMX() (*os.File, error) { return nil, errUnfinished }

// Console makes /dev/console the terminal slave, a descriptor from
// TIOCGPTPEER of PTMX's file. It comes between Enter and Finish.
func (r *Root) Console(slave *os.File) error { return errUnfinished }

// Finish makes read-only what shall be, and masks what shall not be read.
func (r *Root) Finish() error { return errUnfinished }

// Close gives up the descriptors. It may be called at any time, more than once.
func (r *Root) Close() {}

// OpenProc opens a file of a proc file system for the calling process: a path
// such as "self/attr/exec" or "sys/net/ipv4/ip_forward". The file is surely
// procfs's own and nothing that is mounted over it or made to look like it,
// whatever the container has done to its /proc; the PID namespace is the
// caller's. flags are those of open(2); O_CLOEXEC is added.
func OpenProc(path string, flags int) (*os.File, error) { return nil, errUnfinished }
