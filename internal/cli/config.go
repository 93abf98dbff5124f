package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coffer/internal/container"
	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"

	"github.com/BurntSushi/toml"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// configPath is the file with what the host's administrator decided.
const configPath = "/etc/coffer/config.toml"

// config is what can be set there.
type config struct {
	Isolation string `toml:"isolation"`
	Root      string `toml:"root"`
	Intercept string `toml:"intercept"`
	// Network is for `coffer do` and `coffer network`.
	Network networkConfig `toml:"network"`
}

// readConfig reads the configuration file, which need not be there.
func readConfig(path string) (c config, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("the configuration file: %w", err)
	}
	meta, err := toml.Decode(string(data), &c)
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "toml: ")
		if where, _, kinds := strings.Cut(text, ": incompatible types"); kinds { // of Go's
			text = where + ": that is no value for this key: a text stands in quotes, and a list of texts in brackets"
		}
		return config{}, fmt.Errorf("%s: %s", path, text)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return config{}, fmt.Errorf("%s: the key %q is not known: there are isolation, root and intercept, and in [network] default, deny, directory, cni_configs and cni_plugins", path, unknown[0])
	}
	if c.Isolation != "" {
		if _, err := parseLevel(c.Isolation); err != nil {
			return config{}, fmt.Errorf("%s: isolation: %w", path, err)
		}
	}
	if c.Root != "" && !filepath.IsAbs(c.Root) {
		return config{}, fmt.Errorf("%s: root %q is not an absolute path", path, c.Root)
	}
	if err := checkIntercept(c.Intercept); err != nil {
		return config{}, fmt.Errorf("%s: intercept %w", path, err)
	}
	if err := c.Network.check(); err != nil {
		return config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// chooseIsolation says which wall a container gets, from whoever has a say, the
// first of these that has one: the flag, the bundle's annotation, the
// configuration file, the name by which the program was called. It is the
// kernel if none has.
func (g *globals) chooseIsolation(spec *specs.Spec, called string) (isolation.Level, error) {
	for _, say := range []struct{ who, value string }{
		{"--isolation", g.isolation},
		{"annotation " + container.AnnotationIsolation, spec.Annotations[container.AnnotationIsolation]},
		{configPath, g.config.Isolation},
		{"the program's name", byName(called)},
	} {
		if say.value != "" {
			level, err := parseLevel(say.value)
			if err != nil {
				err = fmt.Errorf("%s: %w", say.who, err)
			}
			return level, err
		}
	}
	return isolation.LevelKernel, nil
}

func parseLevel(s string) (isolation.Level, error) {
	if l := isolation.Level(s); slices.Contains(isolation.Levels, l) {
		return l, nil
	}
	var names []string
	for _, l := range isolation.Levels {
		names = append(names, string(l))
	}
	return "", fmt.Errorf("isolation %q is not known: it is %s", s, strings.Join(names, " or "))
}

// byName is the wall that goes with the name of the program: coffer under the
// names of its walls, or in the place of another runtime.
func byName(called string) string {
	switch name := filepath.Base(called); name {
	case "runc", "crun":
		return string(isolation.LevelProcess)
	case "runsc":
		return string(isolation.LevelKernel)
	default:
		level, _ := strings.CutPrefix(name, "coffer-")
		if slices.Contains(isolation.Levels, isolation.Level(level)) {
			return level
		}
		return ""
	}
}

// chooseIntercept is how a new container's system calls are intercepted.
func (g *globals) chooseIntercept() (string, error) {
	if g.intercept == "" {
		return g.config.Intercept, nil
	}
	if err := checkIntercept(g.intercept); err != nil {
		return "", fmt.Errorf("--intercept %w", err)
	}
	return g.intercept, nil
}

func checkIntercept(s string) error {
	if s != "" && !slices.Contains(boot.Platforms(), s) {
		return fmt.Errorf("%q is not known: it is one of %s", s, strings.Join(boot.Platforms(), ", "))
	}
	return nil
}
