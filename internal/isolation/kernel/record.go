package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"coffer/internal/isolation"

	"golang.org/x/sys/unix"
)

// Files in a container's directory.
const (
	// recordName is what the wall has made.
	recordName = "kernel.json"
	// socketName is where a sandbox's sentry is asked, in the directory of its
	// first container.
	socketName = "sentry.sock"
	// gateName is an empty file. The sentry holds a lock on it until the
	// container's program has been let run.
	gateName = "gate"
)

// record is what there is to be destroyed.
type record struct {
	// Init is the container's first process on the host: a sentry, or an
	// attendant.
	Init isolation.PID `json:"init"`
	// Sandbox is the ID of the container whose sentry this one has, or empty
	// for a sentry of its own.
	Sandbox string `json:"sandbox,omitempty"`
	// Serves says that the sentry serves a network namespace, Namespace which one if it
	// is one by a path, and not the sentry's own.
	Serves    bool   `json:"serves,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

func (r *record) first() bool { return r.Sandbox == "" }

// readRecord reads the record of a container; os.ErrNotExist if the wall has
// made nothing.
func readRecord(c *isolation.Container) (*record, error) {
	data, err := os.ReadFile(filepath.Join(c.StateDir, recordName))
	if err != nil {
		return nil, fmt.Errorf("the kernel wall's record: %w", err)
	}
	r := new(record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("the kernel wall's record %s is damaged: %w", filepath.Join(c.StateDir, recordName), err)
	}
	return r, checkSandboxID(r.Sandbox)
}

// write puts the record into a directory, as a whole or not at all.
func (r *record) write(dir string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, recordName)
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return fmt.Errorf("the kernel wall's record: %w", err)
	}
	return os.Rename(name+".new", name)
}

// checkSandboxID checks a name that becomes part of a path.
func checkSandboxID(id string) error {
	if strings.ContainsAny(id, "/\x00") || id == "." || id == ".." {
		return fmt.Errorf("%q is no container's ID", id)
	}
	return nil
}

// sandboxDir is the directory of the container whose sentry c has.
func (r *record) sandboxDir(stateDir string) string {
	if r.first() {
		return stateDir
	}
	return filepath.Join(filepath.Dir(stateDir), r.Sandbox)
}

// makeGate makes the gate and returns the description that holds the lock.
func makeGate(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, gateName), os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the container's gate: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the container's gate: %w", err)
	}
	return f, nil
}

// makeSocket makes the listening socket of a sandbox.
func makeSocket(dir string) (*os.File, error) {
	name := filepath.Join(dir, socketName)
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("making the sandbox's socket: %w", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making the sandbox's socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	err = inDirectory(dir, socketName, func(short string) error {
		return unix.Bind(fd, &unix.SockaddrUnix{Name: short})
	})
	if err == nil {
		err = os.Chmod(name, 0o600)
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("making the sandbox's socket %s: %w", name, err)
	}
	return f, nil
}

// inDirectory calls f with a name for a file that is short enough for a socket's
// address, however long the directory's is.
func inDirectory(dir, name string, f func(short string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name))
}
