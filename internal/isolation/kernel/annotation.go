package kernel

import (
	"fmt"
	"path/filepath"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Annotations by which implementations of CRI say that a container belongs into a
// sandbox that is there: those of containerd and of CRI-O.
var sandboxAnnotations = []struct{ kind, sandbox string }{
	{"io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"},
	{"io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"},
}

// sandboxOf is the ID of the container in whose sandbox the spec's is to be, empty
// for a sandbox of its own.
func sandboxOf(spec *specs.Spec) (string, error) {
	for _, a := range sandboxAnnotations {
		switch kind := spec.Annotations[a.kind]; kind {
		case "", "sandbox":
		case "container":
			id := spec.Annotations[a.sandbox]
			if id == "" {
				return "", fmt.Errorf("annotations: %s is %q, but %s does not say of which sandbox", a.kind, kind, a.sandbox)
			}
			if err := checkSandboxID(id); err != nil {
				return "", fmt.Errorf("annotations: %s: %w", a.sandbox, err)
			}
			return id, nil
		default:
			return "", fmt.Errorf("annotations: %s is %q: it is one of sandbox and container", a.kind, kind)
		}
	}
	return "", nil
}

// sandboxInit is the host's number of the first process of a sandbox, by its
// container's ID; 0 if that is empty. stateDir is that of a container to be in it.
func sandboxInit(id, stateDir string) (int, error) {
	if id == "" {
		return 0, nil
	}
	r, err := readRecord(&isolation.Container{StateDir: filepath.Join(filepath.Dir(stateDir), id)})
	if err != nil {
		return 0, fmt.Errorf("annotations: the sandbox %s, to which the container is to belong, is none of the kernel wall's: %w", id, err)
	}
	return r.Init.PID, nil
}
