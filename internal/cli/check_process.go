package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"coffer/internal/container"
	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// tryProcess runs this very binary in a container on the host's kernel, as
// `coffer version`.
func tryProcess() (err error) {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding coffer's own binary: %w", err)
	}
	id := "coffer-check-" + strconv.Itoa(os.Getpid())
	// Before anything is made that would have to go again, and before a file is
	// opened, for which Go's runtime needs calls that the host may refuse.
	wall, err := container.DefaultWalls(isolation.LevelProcess)
	if err != nil {
		return err
	}
	if err := wall.Check(&isolation.Request{ID: id, Spec: oci.Template(false)}); err != nil {
		return err
	}
	spec := oci.Template(isRootless())
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/coffer", Type: "bind", Source: exe, Options: []string{"bind", "ro"}})
	spec.Process.Terminal, spec.Process.Args = false, []string{"/coffer", "version"}
	spec.Process.Rlimits = nil // those of a template may be more than this caller has
	dir, err := os.MkdirTemp("", "coffer-check")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	spec.Root.Path = filepath.Join(dir, "rootfs")
	if err := os.Mkdir(spec.Root.Path, 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	request := &container.CreateRequest{
		ID: id, Bundle: dir, Config: data, Spec: spec, Isolation: isolation.LevelProcess,
		Cgroup: hostcgroup.Options{Rootless: isRootless()},
	}
	request.Stdio = [3]*os.File{null, null, null}
	s := container.NewStore(filepath.Join(dir, "store"), container.DefaultWalls)
	init, err := s.Create(request)
	if err != nil {
		return err
	}
	defer func() {
		if derr := s.Delete(request.ID, true); err == nil {
			err = derr
		}
	}()
	if err := s.Start(request.ID); err != nil {
		return err
	}
	var status unix.WaitStatus
	for {
		if _, err = unix.Wait4(init.PID, &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("waiting for a trial program: %w", err)
	}
	if status != 0 {
		return errors.New("a trial program failed in the container: report this with the output of 'coffer --debug --isolation process run' of a bundle")
	}
	return nil
}
