package oci

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"coffer/internal/oci/mountoption"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// maxProblems is how many contradictions one error names.
const maxProblems = 8

// problems collects what is wrong with a configuration, each with the name of
// its field and the cure.
type problems struct {
	file  string
	found []string
	more  int
}

// add notes what is wrong with a field, such as process.args.
func (p *problems) add(field, format string, args ...any) {
	if len(p.found) == maxProblems {
		p.more++
		return
	}
	p.found = append(p.found, field+" "+fmt.Sprintf(format, args...))
}

func (p *problems) err() error {
	if len(p.found) == 0 {
		return nil
	}
	text := strings.Join(p.found, "; ")
	if p.more > 0 {
		text += fmt.Sprintf("; and %d more", p.more)
	}
	return fmt.Errorf("%s: %s", p.file, text)
}

// Check says what in a configuration is malformed or contradicts itself, by
// the names of the fields, whatever the wall. What is merely odd, and accepted
// by other runtimes, is logged as a warning. Whether a wall can do what is
// asked is the wall's to check.
func Check(spec *specs.Spec) error {
	p := &problems{file: ConfigFile}
	checkRoot(p, spec.Root)
	if spec.Process == nil {
		p.add("process", "is missing: it says what to run")
	} else {
		checkProcess(p, "process.", spec.Process)
		checkCapabilities(p, "process.", spec.Version, spec.Process.Capabilities)
	}
	checkMounts(p, spec.Mounts)
	checkHooks(p, spec.Hooks)
	if _, unnamed := spec.Annotations[""]; unnamed {
		p.add("annotations", "has an empty key: name it")
	}
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	checkHostNames(p, spec, linux)
	checkLinux(p, linux)
	for _, s := range []struct {
		name  string
		given bool
	}{{"windows", spec.Windows != nil}, {"solaris", spec.Solaris != nil}, {"vm", spec.VM != nil}, {"zos", spec.ZOS != nil}, {"freebsd", spec.FreeBSD != nil}} {
		if s.given {
			slog.Warn(fmt.Sprintf("%s: %s is for another platform, and ignored", ConfigFile, s.name))
		}
	}
	return p.err()
}

// CheckProcess checks a process alone, as `coffer exec --process` reads one.
func CheckProcess(process *specs.Process, file string) error {
	p := &problems{file: file}
	checkProcess(p, "", process)
	checkCapabilities(p, "", specs.Version, process.Capabilities)
	return p.err()
}

func checkRoot(p *problems, root *specs.Root) {
	if root == nil {
		p.add("root", "is missing: it names the directory with the container's files")
		return
	}
	if !checkPath(p, "root.path", root.Path) {
		return
	}
	st, err := os.Stat(root.Path)
	switch {
	case err != nil:
		p.add("root.path", "cannot be used (%v): it is the directory with the container's files, relative to the bundle if it is not absolute", err)
	case !st.IsDir():
		p.add("root.path", "%q is not a directory", root.Path)
	}
}

// checkPath reports whether a path that is needed is there, absolute and one
// that the kernel takes, and says if not.
func checkPath(p *problems, field, path string) bool {
	switch {
	case path == "":
		p.add(field, "is missing")
	case strings.IndexByte(path, 0) >= 0:
		p.add(field, "%q has a NUL byte, which no path can have", path)
	case !filepath.IsAbs(path):
		p.add(field, "%q is not an absolute path", path)
	default:
		return true
	}
	return false
}

// checkMounts lets destinations pass that are not absolute: they are
// taken from the container's root, as version 1.0.0 of the specification had it.
func checkMounts(p *problems, mounts []specs.Mount) {
	for i := range mounts {
		m := &mounts[i]
		field := fmt.Sprintf("mounts[%d]", i)
		switch {
		case m.Destination == "":
			p.add(field+".destination", "is missing: it is where the mount goes in the container")
			continue
		case strings.IndexByte(m.Destination+m.Source+m.Type, 0) >= 0:
			p.add(field, "has a NUL byte in its destination, source or type")
			continue
		case !filepath.IsAbs(m.Destination):
			slog.Warn(fmt.Sprintf("%s: %s.destination %q is not absolute: it is taken from the container's root", ConfigFile, field, m.Destination))
		}
		if data := mountoption.Parse(m.Options).Data; isBind(m) && len(data) > 0 {
			// mount(2) ignores them, too, and bundles for other runtimes have them.
			slog.Warn(fmt.Sprintf("%s: %s.options has what no bind mount has (see mount(8)), and is left out: %s", ConfigFile, field, strings.Join(data, ", ")))
		}
		if isBind(m) && m.Source == "" {
			p.add(field+".source", "is missing: it is the host's path that is to be bound to %s", m.Destination)
		}
		if len(m.UIDMappings) > 0 != (len(m.GIDMappings) > 0) {
			p.add(field, "(%s) must have both uidMappings and gidMappings, or none", m.Destination)
		}
		checkIDMap(p, field+".uidMappings", m.UIDMappings)
		checkIDMap(p, field+".gidMappings", m.GIDMappings)
	}
}

func checkHooks(p *problems, hooks *specs.Hooks) {
	for _, stage := range Stages(hooks) {
		for i, h := range stage.Hooks {
			field := fmt.Sprintf("hooks.%s[%d]", stage.Name, i)
			checkPath(p, field+".path", h.Path)
			if h.Timeout != nil && *h.Timeout <= 0 {
				p.add(field+".timeout", "is %d: it must be more than 0 seconds, or left out", *h.Timeout)
			}
			checkStrings(p, field+".args", h.Args)
			checkStrings(p, field+".env", h.Env)
		}
	}
}

// checkStrings refuses what execve(2) could not be given.
func checkStrings(p *problems, field string, list []string) {
	for i, s := range list {
		if strings.IndexByte(s, 0) >= 0 {
			p.add(fmt.Sprintf("%s[%d]", field, i), "%q has a NUL byte", s)
		}
	}
}
