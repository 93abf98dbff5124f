package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"coffer/internal/namedfile"
	"coffer/internal/oci"

	"github.com/spf13/cobra"
)

func newSpec(g *globals) *cobra.Command {
	var bundle string
	var rootless bool
	c := &cobra.Command{
		Use:   "spec [flags]",
		Short: "Write a configuration for a bundle, to be edited",
		Long: `Write a config.json that runs sh in a bundle's directory rootfs, to be edited.
process.args is what is to run. With --rootless it is for a user without
privileges, who becomes root in the container.`,
		Example: `  mkdir -p web/rootfs && tar -C web/rootfs -xf web.tar
  coffer spec --bundle web
  coffer run --bundle web web1`,
		Args:              exactly(0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVarP(&bundle, "bundle", "b", "", "the bundle's directory (default: the present one)")
	// In the place of the global flag of this name, as with runc.
	c.Flags().BoolVar(&rootless, "rootless", false, "write a configuration for a user without privileges")
	c.MarkFlagDirname("bundle")
	return g.verb(c, exitVerb, func([]string) error { return writeSpec(bundle, rootless) })
}

func writeSpec(bundle string, rootless bool) error {
	path := filepath.Join(bundle, oci.ConfigFile)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(oci.Template(rootless)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("File %s exists. Remove it first", path) // runc's words
	}
	if err != nil {
		return fmt.Errorf("the configuration cannot be written: %s: %w", path, namedfile.Explain(err, true))
	}
	_, err = f.Write(b.Bytes())
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("the configuration cannot be written: %w", err)
	}
	return nil
}
