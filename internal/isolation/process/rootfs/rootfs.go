// Package rootfs makes a container's root file system: the mounts, devices,
// links and masks that its spec asks for, and the change of root itself.
//
// It works on descriptors. A path that the container could have a say in is
// resolved once, below the descriptor of the root, by openat2(2) with
// RESOLVE_IN_ROOT; what comes of it is mounted on, written to or made by
// descriptor. So a symbolic link that somebody puts in the way, before or
// meanwhile, leads to another place in the container at most.
//
// It knows nothing of processes: package process calls it from the
// container's init, in this order:
//
//	r, err := Prepare(cfg) // the old root is still there: createContainer hooks follow
//	r.Enter()              // now / is the container's
//	r.PTMX(), r.Console()  // if there is a terminal; sysctls are written too
//	r.Finish()             // read-only root, masks: nothing can be made any more
//	r.Close()
//
// All of it changes the calling process as a whole (root, working directory,
// umask for a moment), so nothing else may go on in it.
package rootfs

import (
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Config says which root file system to make.
type Config struct {
	// Spec has passed oci.Check; it is not changed.
	Spec *specs.Spec
	// Bundle is the bundle's absolute path: relative sources lie in it.
	Bundle string
	// Sources is what OpenSources returned in the parent. Prepare closes them.
	Sources map[int]*os.File
	// NoPivot moves the root over the old one instead of pivot_root(2), which
	// a root on the initial RAM file system refuses.
	NoPivot bool
}

// RootSource is the key of the container's root among the sources.
const RootSource = -1

// Root is a container's root file system while it is made.
type Root struct{}
