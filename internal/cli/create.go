package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"coffer/internal/container"
	"coffer/internal/isolation"
	"coffer/internal/oci"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newContainer are the flags by which a container is made.
type newContainer struct {
	bundle        string
	consoleSocket string
	pidFile       string
	noPivot       bool
	noNewKeyring  bool
	preserveFDs   int
}

func (n *newContainer) flags(fl *pflag.FlagSet) {
	fl.StringVarP(&n.bundle, "bundle", "b", "", "the bundle's directory (default: the present one)")
	fl.StringVar(&n.consoleSocket, "console-socket", "", "path of a unix socket that is sent the master of the container's terminal")
	fl.StringVar(&n.pidFile, "pid-file", "", "write the number of the container's first process to this file")
	fl.BoolVar(&n.noPivot, "no-pivot", false, "change the root without pivot_root(2), for hosts that run from an initial ramdisk")
	fl.BoolVar(&n.noNewKeyring, "no-new-keyring", false, "let the container use the caller's session keyring")
	fl.IntVar(&n.preserveFDs, "preserve-fds", 0, "pass on so many descriptors after standard error (and those of $LISTEN_FDS)")
}

func newCreate(g *globals) *cobra.Command {
	var n newContainer
	c := &cobra.Command{
		Use:   "create [flags] ID",
		Short: "Make a container from a bundle, up to its program",
		Long: `Make a container named ID from a bundle: a directory with a config.json, and
the container's files. Its program waits for 'coffer start ID'.`,
		Example: `  coffer create --bundle ./web web1
  coffer --isolation process create --pid-file web1.pid web1`,
		Args:              exactly(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	n.flags(c.Flags())
	c.MarkFlagDirname("bundle")
	return g.storeVerb(c, exitVerb, func(s *container.Store, args []string) error {
		request, err := g.request(&n, args[0])
		if err != nil {
			return err
		}
		if err := detachedStreams(&request.Streams, request.Spec.Process.Terminal, n.consoleSocket); err != nil {
			return err
		}
		_, err = s.Create(request)
		return err
	})
}

// request reads the bundle that is to become a container.
func (g *globals) request(n *newContainer, id string) (*container.CreateRequest, error) {
	if err := container.CheckID(id); err != nil {
		return nil, err
	}
	bundle, err := bundleDirectory(n.bundle)
	if err != nil {
		return nil, err
	}
	r := &container.CreateRequest{
		ID: id, Bundle: bundle, Cgroup: g.cgroupOptions(),
		NoPivot: n.noPivot, NoNewKeyring: n.noNewKeyring, PIDFile: n.pidFile,
	}
	if r.Config, r.Spec, err = oci.Load(bundle); err != nil {
		return nil, err
	}
	if err := g.config.Network.permitSpec(r.Spec); err != nil {
		return nil, err
	}
	if r.Isolation, err = g.chooseIsolation(r.Spec, os.Args[0]); err != nil {
		return nil, err
	}
	if r.Isolation == isolation.LevelKernel {
		if r.Intercept, err = g.chooseIntercept(); err != nil {
			return nil, err
		}
	} else if g.intercept != "" {
		return nil, fmt.Errorf("--intercept is for isolation kernel, and isolation %s intercepts nothing", r.Isolation)
	}
	r.Extra, err = passOn(n.preserveFDs, r.Spec.Process)
	return r, err
}

// bundleDirectory resolves the bundle's path: it is on record, and must not mean
// another directory later.
func bundleDirectory(path string) (string, error) {
	if path == "" {
		path = "."
	}
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the bundle: %w: name its directory with --bundle", err)
	} else if err != nil {
		return "", fmt.Errorf("the bundle: %w", err)
	}
	if st, err := os.Stat(abs); err == nil && !st.IsDir() {
		return "", fmt.Errorf("the bundle %s is not a directory", path)
	}
	return abs, nil
}
