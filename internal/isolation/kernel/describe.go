package kernel

import (
	"fmt"
	"os"
	"path/filepath"

	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// describeContainer says to the sentry what the spec asks for, and opens what of
// the host that takes. Its root comes first of all donations.
func describeContainer(r *isolation.Request, d *donation) (*boot.Container, error) {
	root := r.Spec.Root.Path
	if !filepath.IsAbs(root) {
		root = filepath.Join(r.Bundle, root)
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("root.path %s cannot be opened: %w", root, err)
	}
	c := &boot.Container{ID: r.ID, Hostname: r.Spec.Hostname}
	c.Root = d.give(os.NewFile(uintptr(fd), root))
	p, err := describeProcess(r.Spec.Process)
	if err != nil {
		return nil, err
	}
	c.Process = *p
	return c, nil
}

// describeProcess says what the spec asks of a process, but for its open files.
func describeProcess(p *specs.Process) (*boot.Process, error) {
	d := &boot.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd, UID: p.User.UID, GID: p.User.GID, Groups: p.User.AdditionalGids,
		Umask: 0o022,
	}
	if p.User.Umask != nil {
		d.Umask = *p.User.Umask
	}
	return d, nil
}
