package boot

import (
	"fmt"
	"path"
	"strings"

	"coffer/internal/bpf"
	"coffer/internal/sentry/kernel"
)

// Bounds of a description by an OCI spec.
const (
	devicesMax = 1024
	pathsMax   = 1024
	hooksMax   = 64
	sysctlsMax = 1024
	mapsMax    = 340 // user_namespaces(7)
)

// check finds what would make no files.
func (f *Files) check() error {
	for _, n := range []struct {
		what        string
		count, most int
	}{
		{"directories", len(f.Trees), mountsMax}, {"mounts", len(f.Mounts), mountsMax}, {"devices", len(f.Devices), devicesMax},
		{"masked paths", len(f.Masked), pathsMax}, {"read-only paths", len(f.ReadonlyPaths), pathsMax},
	} {
		if n.count > n.most {
			return fmt.Errorf("%d %s are too many", n.count, n.what)
		}
	}
	for _, t := range f.Trees {
		if !plainName(t.Name) {
			return fmt.Errorf("%q is no file's name", t.Name)
		}
	}
	for _, m := range f.Mounts {
		switch {
		case !absolute(m.Destination):
			return fmt.Errorf("%s: %q is no place for a mount", m.Field, m.Destination)
		case m.Type == "" && (m.Tree < 0 || m.Tree >= len(f.Trees)):
			return fmt.Errorf("%s: there is no directory %d", m.Field, m.Tree)
		case !plainName(m.File):
			return fmt.Errorf("%s: %q is no file's name", m.Field, m.File)
		}
	}
	for _, d := range f.Devices {
		if !absolute(d.Path) {
			return fmt.Errorf("%s: %q is no place for a device", d.Field, d.Path)
		}
	}
	return nil
}

// plainName reports whether a name is empty or that of something in a directory.
func plainName(s string) bool {
	return !strings.ContainsAny(s, "/\x00") && s != "." && s != ".."
}

// absolute reports whether a path is absolute and can be one.
func absolute(p string) bool { return path.IsAbs(p) && !strings.ContainsRune(p, 0) }

// checkSpec finds what an OCI spec would not have led to.
func (c *Container) checkSpec() error {
	switch {
	case c.Files != nil && c.Attributes == nil, c.Files == nil && c.Attributes != nil:
		return fmt.Errorf("the description is half of a spec")
	case len(c.Domainname) > hostnameMax || strings.ContainsRune(c.Domainname, 0):
		return fmt.Errorf("the domain name %.80q is none", c.Domainname)
	case len(c.Sysctls) > sysctlsMax:
		return fmt.Errorf("%d settings are too many", len(c.Sysctls))
	case len(c.UIDs) > mapsMax || len(c.GIDs) > mapsMax:
		return fmt.Errorf("%d and %d lines are too many for the maps of a user namespace", len(c.UIDs), len(c.GIDs))
	case len(c.StartHooks) > hooksMax:
		return fmt.Errorf("%d hooks are too many", len(c.StartHooks))
	}
	if c.Files != nil {
		return c.Files.check()
	}
	return nil
}

// check finds what would make no process.
func (a *Attributes) check() error {
	if n := len(a.Seccomp); n > bpf.MaxInstructions {
		return fmt.Errorf("a filter of %d instructions is too long", n)
	}
	if len(a.Limits) > 4*kernel.NumLimits {
		return fmt.Errorf("%d resource limits are too many", len(a.Limits))
	}
	return nil
}
