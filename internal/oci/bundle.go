// Package oci is what the OCI runtime specification defines and no wall
// decides: a bundle's config.json and whether it makes sense, hooks, the
// template of `coffer spec`, and what `coffer features` says of them. It knows
// nothing of walls, containers or the host's cgroups.
//
// https://github.com/opencontainers/runtime-spec/tree/v1.3.0
package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ConfigFile is the name of a bundle's configuration in its directory.
const ConfigFile = "config.json"

// maxConfig is how large a configuration may be, in bytes. Those of engines
// have some 20 KB; a seccomp profile with rules for each call has 200.
const maxConfig = 8 << 20

// Load reads, decodes and checks the configuration of the bundle in a
// directory, an absolute path, and warns of what it does not know in it. It
// returns the bytes as well, which are what is kept of a bundle: its file may
// change.
func Load(bundle string) (config []byte, spec *specs.Spec, err error) {
	if config, err = read(bundle); err != nil {
		return nil, nil, err
	}
	if spec, err = decodeKnown(config, bundle); err != nil {
		return nil, nil, err
	}
	return config, spec, Check(spec)
}

// decodeKnown is Decode, which warns of a field that is not known: a mistake in
// writing as a rule, or of a later version.
func decodeKnown(data []byte, bundle string) (*specs.Spec, error) {
	spec := new(specs.Spec)
	value := forLinux{Spec: spec}
	known := decodeStrictly(data, &value)
	if known && value.others() {
		spec = new(specs.Spec)
		known = decodeStrictly(data, spec)
	}
	if known {
		return complete(spec, bundle)
	}
	return Decode(data, bundle)
}

// decodeStrictly reports whether data has nothing but what v does. It warns of the first field that v does not have.
func decodeStrictly(data []byte, v any) bool {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		// The decoder has no type for this error, and ends at the first.
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			slog.Warn(fmt.Sprintf("%s: a field %s is not known, and ignored: check how it is written", ConfigFile, field))
		}
		return false
	}
	_, end := dec.Token()
	return end == io.EOF
}

// forLinux is a Spec whose parts for other systems are not decoded. What takes
// encoding/json long is types, those of fields that are missing included; and a field
// that is declared here hides that of the Spec, and its type.
type forLinux struct {
	*specs.Spec
	Solaris json.RawMessage `json:"solaris"`
	Windows json.RawMessage `json:"windows"`
	VM      json.RawMessage `json:"vm"`
	ZOS     json.RawMessage `json:"zos"`
	FreeBSD json.RawMessage `json:"freebsd"`
}

// others reports whether there is any part that was not decoded.
func (s *forLinux) others() bool {
	return s.Solaris != nil || s.Windows != nil || s.VM != nil || s.ZOS != nil || s.FreeBSD != nil
}

// read returns the bytes of a bundle's config.json, which is opened once.
func read(bundle string) ([]byte, error) {
	path := filepath.Join(bundle, ConfigFile)
	// A FIFO in its place must not make coffer wait.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("JSON specification file %s not found in the bundle %s: name the bundle's directory with --bundle, or write the file with 'coffer spec'", ConfigFile, bundle)
	}
	if err != nil {
		return nil, fmt.Errorf("the bundle's configuration cannot be read: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("the bundle's configuration cannot be read: %w", err)
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file (%s): it must hold the bundle's configuration", path, st.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("the bundle's configuration cannot be read: %w", err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("%s is larger than %d MiB, which no configuration is: is it the right file?", path, maxConfig>>20)
	}
	return data, nil
}

// Decode turns a configuration's bytes into a Spec whose paths on the host are
// absolute: those that are not are relative to the bundle, an absolute path.
// Fields that the specification does not define are ignored, as it demands.
func Decode(data []byte, bundle string) (*specs.Spec, error) {
	spec := new(specs.Spec)
	if err := DecodeJSON(data, spec, ConfigFile); err != nil {
		return nil, err
	}
	return complete(spec, bundle)
}

// InBundle returns a path of a configuration, which is the bundle's unless it is
// absolute.
func InBundle(bundle, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(bundle, path)
}

// complete checks a spec's version and makes its paths on the host absolute.
func complete(spec *specs.Spec, bundle string) (*specs.Spec, error) {
	if err := checkVersion(spec.Version); err != nil {
		return nil, err
	}
	if spec.Root != nil {
		spec.Root.Path = InBundle(bundle, spec.Root.Path)
	}
	for i := range spec.Mounts {
		if m := &spec.Mounts[i]; isBind(m) {
			m.Source = InBundle(bundle, m.Source)
		}
	}
	return spec, nil
}

func isBind(m *specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// DecodeJSON decodes one JSON value and says of an error where in the file it
// lies, by line, column and field.
func DecodeJSON(data []byte, value any, file string) error {
	err := json.Unmarshal(data, value)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		if len(bytes.TrimSpace(data)) == 0 {
			return fmt.Errorf("%s is empty", file)
		}
		if bytes.HasPrefix(data, []byte("\ufeff")) {
			return fmt.Errorf("%s is not JSON: it begins with a byte order mark: save it without", file)
		}
		return fmt.Errorf("%s:%s is not JSON: %w", file, place(data, syntax.Offset), err)
	case errors.As(err, &kind):
		field := kind.Field
		if field == "" {
			field = "the whole"
		}
		return fmt.Errorf("%s:%s: %s has a JSON %s where a value of the kind %s belongs", file, place(data, kind.Offset), field, kind.Value, kindName(kind.Type))
	}
	return fmt.Errorf("%s: %w", file, err)
}

// kindName says in JSON's words what Go calls a type.
func kindName(t reflect.Type) string {
	switch kind := t.Kind(); kind {
	case reflect.Struct, reflect.Map, reflect.Pointer, reflect.Interface:
		return "object"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("whole number from %d to %d", -1<<(t.Bits()-1), 1<<(t.Bits()-1)-1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("whole number from 0 to %d", ^uint64(0)>>(64-t.Bits()))
	default:
		return kind.String()
	}
}

// place is the line and column of a byte, both from 1.
func place(data []byte, offset int64) string {
	before := data[:min(max(offset, 0), int64(len(data)))]
	line := bytes.Count(before, []byte{'\n'}) + 1
	column := max(len(before)-1-bytes.LastIndexByte(before, '\n'), 1)
	return fmt.Sprintf("%d:%d", line, column)
}
