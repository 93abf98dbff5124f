package oci

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"

	"coffer/internal/oci/linuxname"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// checkProcess checks a process whose fields begin with prefix.
func checkProcess(p *problems, prefix string, process *specs.Process) {
	switch {
	case len(process.Args) == 0:
		p.add(prefix+"args", "is empty: its first word is the program to run (process args cannot be empty)")
	case process.Args[0] == "":
		p.add(prefix+"args[0]", "is an empty word: it is the program to run")
	}
	checkStrings(p, prefix+"args", process.Args)
	checkEnvironment(p, prefix+"env", process.Env)
	if process.Cwd == "" {
		p.add(prefix+"cwd", "is missing: it is the working directory in the container (Cwd property must not be empty)")
	} else {
		checkPath(p, prefix+"cwd", process.Cwd)
	}
	if s := process.ConsoleSize; s != nil && (s.Height > math.MaxUint16 || s.Width > math.MaxUint16) {
		p.add(prefix+"consoleSize", "is %dx%d: a terminal has at most %d rows and columns", s.Height, s.Width, math.MaxUint16)
	}
	if m := process.User.Umask; m != nil && *m > 0o777 {
		p.add(prefix+"user.umask", "is %#o: it has nine bits, at most 0777", *m)
	}
	if a := process.OOMScoreAdj; a != nil && (*a < -1000 || *a > 1000) {
		p.add(prefix+"oomScoreAdj", "is %d: it lies from -1000 to 1000", *a)
	}
	if io := process.IOPriority; io != nil {
		if _, err := linuxname.IOPriority(string(io.Class), io.Priority); err != nil {
			p.add(prefix+"ioPriority", "cannot be set: %v", err)
		}
	}
	checkRlimits(p, prefix+"rlimits", process.Rlimits)
}

// checkCapabilities refuses names that are no capabilities in bundles that
// follow version 1.0 of the specification, which has it so. Since version 1.1
// such names are left out with a warning.
func checkCapabilities(p *problems, prefix, version string, c *specs.LinuxCapabilities) {
	major, minor, err := parseVersion(version)
	if err != nil || major != 1 || minor != 0 {
		if unknown := unknownCapabilities(c); len(unknown) > 0 {
			slog.Warn(fmt.Sprintf("%s: %scapabilities has names that are no capabilities (see capabilities(7)), and are left out: %s", p.file, prefix, strings.Join(unknown, ", ")))
		}
		return
	}
	for _, set := range capabilitySets(c) {
		for i, name := range set.names {
			if _, ok := linuxname.Capability(name); !ok {
				p.add(fmt.Sprintf("%scapabilities.%s[%d]", prefix, set.field, i),
					"is %q, which is no capability (see capabilities(7)): correct it, or set ociVersion to 1.1.0 or later to have it left out", name)
			}
		}
	}
}

// capabilitySet is one of the sets of a process.
type capabilitySet struct {
	field string
	names []string
}

func capabilitySets(c *specs.LinuxCapabilities) []capabilitySet {
	if c == nil {
		return nil
	}
	return []capabilitySet{{"bounding", c.Bounding}, {"effective", c.Effective}, {"inheritable", c.Inheritable}, {"permitted", c.Permitted}, {"ambient", c.Ambient}}
}

// unknownCapabilities are the names that are no capabilities, each once.
func unknownCapabilities(c *specs.LinuxCapabilities) []string {
	var all []string
	for _, set := range capabilitySets(c) {
		_, unknown := linuxname.CapabilitySet(set.names)
		all = append(all, unknown...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func checkEnvironment(p *problems, field string, env []string) {
	checkStrings(p, field, env)
	for i, e := range env {
		if name, _, ok := strings.Cut(e, "="); !ok {
			p.add(fmt.Sprintf("%s[%d]", field, i), "%q has no '=': a variable is NAME=VALUE", e)
		} else if name == "" {
			p.add(fmt.Sprintf("%s[%d]", field, i), "%q has no name: a variable is NAME=VALUE", e)
		}
	}
}

func isRlimit(name string) bool {
	_, ok := linuxname.Rlimit(name)
	return ok
}

func checkRlimits(p *problems, field string, limits []specs.POSIXRlimit) {
	seen := make(map[string]bool)
	for i, l := range limits {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !isRlimit(l.Type):
			p.add(at+".type", "%q is not a limit: it is one of %s", l.Type, strings.Join(linuxname.Rlimits(), ", "))
		case seen[l.Type]:
			p.add(at+".type", "%s was set before: remove one of them", l.Type)
		case l.Soft > l.Hard:
			p.add(at, "(%s) has a soft limit of %d above its hard limit of %d", l.Type, l.Soft, l.Hard)
		}
		seen[l.Type] = true
	}
}
