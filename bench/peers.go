package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// findPeer finds the peer's program: what scripts/bench-deps built or what is
// installed. If it is nowhere it says why: what that script noted.
func findPeer(bin, name string) (path, missing string) {
	path = filepath.Join(bin, "peers", name)
	if exists(path) {
		return path, ""
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, ""
	}
	if note, err := os.ReadFile(path + ".missing"); err == nil {
		return "", strings.TrimSpace(string(note))
	}
	return "", "not installed: scripts/bench-deps does it"
}

// bundle is a job as a bundle of an OCI runtime.
type bundle struct {
	// runtime is the runtime's program with its flags.
	runtime []string
	dir, id string
}

// command is a command of the runtime's.
func (b *bundle) command(args ...string) []string { return append(slices.Clone(b.runtime), args...) }

// bundled makes bundles for an OCI runtime with the given flags, which show the
// host's programs, read-only, and a /tmp of their own.
func bundled(runtime string, flags ...string) func(*bench, job) (*bundle, error) {
	return func(b *bench, j job) (*bundle, error) {
		b.bundles++
		id := fmt.Sprintf("coffer-bench-%d-%d", os.Getpid(), b.bundles)
		dir := filepath.Join(b.tmp, id)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		mounts, err := bundleRoot(filepath.Join(dir, "rootfs"))
		if err != nil {
			return nil, err
		}
		for _, bind := range j.binds {
			mounts = append(mounts, bindMount(bind, "rw"))
		}
		mounts = append(mounts, bindMount(b.work, "ro"))
		config, err := json.Marshal(bundleConfig(b, j, id, mounts))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
			return nil, err
		}
		argv := append([]string{runtime, "--root", filepath.Join(b.tmp, filepath.Base(runtime))}, flags...)
		return &bundle{argv, dir, id}, nil
	}
}

// withoutHybrid has argv's command see no cgroup hierarchy of version 2 beside
// those of version 1: crun refuses hosts that have controllers in both, though
// it needs neither. The command starts a millisecond or two later for it.
func withoutHybrid(make func(*bench, job) (*bundle, error)) func(*bench, job) (*bundle, error) {
	const unified = cgroupRoot + "/unified"
	if b, err := os.ReadFile(unified + "/cgroup.controllers"); err != nil || len(b) == 0 {
		return make
	}
	return func(b *bench, j job) (*bundle, error) {
		made, err := make(b, j)
		if err == nil {
			made.runtime = append([]string{"unshare", "--mount", "sh", "-c", `umount ` + unified + ` && exec "$@"`, "sh"}, made.runtime...)
		}
		return made, err
	}
}

// object is a JSON object.
type object = map[string]any

// bundleRoot makes a root directory for a bundle, and returns the mounts that
// fill it: the host's own root can't be one, since it can't be mounted upon
// itself without leaving the host a mount.
func bundleRoot(dir string) (mounts []object, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64"} {
		if target, err := os.Readlink(name); err == nil {
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		} else if exists(name) {
			mounts = append(mounts, bindMount(name, "ro"))
		}
	}
	return mounts, nil
}

func bindMount(dir, access string) object {
	return object{"destination": dir, "type": "bind", "source": dir, "options": []string{"rbind", access}}
}

// bundleConfig is the OCI configuration of a container for j: no more than it
// takes for the namespaces, mounts and the filter-less process that the other
// walls give.
func bundleConfig(b *bench, j job, id string, mounts []object) object {
	mounts = append([]object{
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
		{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "nodev"}},
	}, mounts...)
	var namespaces []object
	for _, kind := range []string{"pid", "ipc", "uts", "mount"} {
		namespaces = append(namespaces, object{"type": kind})
	}
	network := object{"type": "network"}
	if j.netns != "" {
		network["path"] = j.netns
	}
	namespaces = append(namespaces, network)
	return object{
		"ociVersion": "1.0.2",
		"process": object{
			"user": object{"uid": 0, "gid": 0}, "args": j.args, "cwd": j.dir(),
			"env": append(b.environ(&wall{}), j.env...), "noNewPrivileges": true,
		},
		"root":     object{"path": "rootfs", "readonly": false},
		"hostname": "bench",
		"mounts":   mounts,
		"linux":    object{"namespaces": namespaces, "cgroupsPath": filepath.Join("/", b.meter.group, id)},
	}
}

// probe finds out whether w runs anything at all, and notes in it why not.
func (b *bench) probe(ctx context.Context, w *wall) {
	if w.missing != "" {
		return
	}
	o, err := b.run(ctx, w, job{args: []string{"/bin/echo", "here"}})
	if err != nil {
		w.missing = err.Error()
	} else if o.stdout != "here\n" {
		w.missing = fmt.Sprintf("echo here said %q", o.stdout)
	}
	b.descendants.settle()
}
