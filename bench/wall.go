package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A wall is a way of running a program: natively, or behind something.
type wall struct {
	name string
	// host says that the program sees the host's own /tmp and processes.
	host bool
	// oci says that the wall takes a bundle, which costs more to start from
	// than a command line, and is measured only where that is the point.
	oci bool
	// rare says that the wall is measured only where it is asked for, or once
	// for the families that show what it costs.
	rare bool
	// missing says why the wall can't be measured here.
	missing string
	// argv is the command that runs j, valid until the next one is asked for.
	argv func(b *bench, j job) ([]string, error)
	// bundle makes a bundle for j, for walls that take them.
	bundle func(b *bench, j job) (*bundle, error)
}

// hostStack says that containers behind w use the host's TCP/IP stack.
func (w *wall) hostStack() bool { return w.bundle != nil && w.name != kernelWall }

// bases are the walls that ratios are taken over.
var bases = []string{"native", "runsc systrap"}

// kernelWall is coffer with a kernel of its own as an OCI runtime.
const kernelWall = "coffer kernel"

// nativeWall is none.
var nativeWall = &wall{name: "native", host: true, argv: func(_ *bench, j job) ([]string, error) { return inNamespace(j.netns, j.args), nil }}

// allWalls are the walls that there are, in the order in which a round visits
// them. Peers that are not there say why.
func allWalls(bin string, coffer string) []*wall {
	runsc, noRunsc := findPeer(bin, "runsc")
	runc, noRunc := findPeer(bin, "runc")
	crun, noCrun := findPeer(bin, "crun")
	return []*wall{
		nativeWall,
		bundleWall("runc", noRunc, bundled(runc)),
		bundleWall("crun", noCrun, withoutHybrid(bundled(crun, "--cgroup-manager=disabled"))),
		{name: "runsc systrap", missing: noRunsc, argv: runscDo(runsc, "systrap")},
		{name: "runsc ptrace", rare: true, missing: noRunsc, argv: runscDo(runsc, "ptrace")},
		{name: "coffer trap", argv: cofferDo(coffer, "trap")},
		{name: "coffer ptrace", rare: true, argv: cofferDo(coffer, "ptrace")},
		bundleWall(processWall, "", bundled(coffer, "--isolation=process")),
		bundleWall(kernelWall, "", bundled(coffer, "--isolation=kernel")),
	}
}

// bundleWall is a wall that takes bundles.
func bundleWall(name, missing string, make func(*bench, job) (*bundle, error)) *wall {
	return &wall{name: name, oci: true, missing: missing, bundle: make, argv: func(b *bench, j job) ([]string, error) {
		made, err := make(b, j)
		if err != nil {
			return nil, err
		}
		return made.command("run", "--bundle", made.dir, made.id), nil
	}}
}

// cofferDo runs jobs by coffer do.
func cofferDo(path, platform string) func(*bench, job) ([]string, error) {
	return func(_ *bench, j job) ([]string, error) {
		argv := inNamespace(j.netns, []string{path, "do", "--intercept", platform, "--stats", "--cwd", j.dir()})
		for _, port := range j.ports {
			argv = append(argv, "--publish", port)
		}
		for _, dir := range j.binds {
			argv = append(argv, "--bind", dir+":"+dir+":rw")
		}
		return append(append(argv, "--"), j.args...), nil
	}
}

// runscDo runs jobs by runsc do, which is the peer's counterpart of coffer do:
// the host's root, read-only beneath a layer in memory. Its state goes to the
// run's own directory. Where the network matters it runs a bundle: what it does with
// a namespace's interfaces is then as for any container, and no packet filter of the
// host's is between.
func runscDo(path, platform string) func(*bench, job) ([]string, error) {
	run := bundleWall("", "", bundled(path, "--platform="+platform, "--ignore-cgroups", "--network=sandbox"))
	return func(b *bench, j job) ([]string, error) {
		if j.netns != "" {
			return run.argv(b, j)
		}
		argv := []string{path, "--root=" + filepath.Join(b.tmp, "runsc"), "--platform=" + platform,
			"--network=none", "--ignore-cgroups", "do", "--cwd", j.dir()}
		for _, dir := range j.binds {
			argv = append(argv, "--volume", dir)
		}
		return append(argv, j.args...), nil
	}
}

// selectWalls keeps those of walls whose names match one of the comma-separated
// names: a whole name, or its first word. A wall that is named is not rare.
func selectWalls(walls []*wall, names string) ([]*wall, error) {
	if names == "" {
		return walls, nil
	}
	var kept []*wall
	used := map[string]bool{}
	for _, w := range walls {
		for name := range strings.SplitSeq(names, ",") {
			if first, _, _ := strings.Cut(w.name, " "); name == w.name || name == first {
				used[name] = true
				w.rare = false
				kept = append(kept, w)
				break
			}
		}
	}
	for name := range strings.SplitSeq(names, ",") {
		if !used[name] {
			return nil, fmt.Errorf("there is no wall %q: there are %s", name, wallNames(walls))
		}
	}
	return kept, nil
}

func wallNames(walls []*wall) string {
	var names []string
	for _, w := range walls {
		names = append(names, w.name)
	}
	return strings.Join(names, ", ")
}

// exists reports whether a file is there.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
