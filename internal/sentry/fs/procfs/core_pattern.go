package procfs

import (
	"strings"

	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/vfs"
)

// addCorePattern adds what says where core dumps go (core(5)).
func (fs *FS) addCorePattern(d *genfs.Dir) {
	add := func(name string, get func() string, set func(s string) error) {
		d.Add(name, &genfs.File{
			Super: d.Super, Ino: genfs.Ino(d.Ino, name), Perm: 0o644,
			Content: func(_ vfs.Caller, b []byte) ([]byte, error) { return append(append(b, get()...), '\n'), nil },
			Store: func(_ vfs.Caller, data []byte) error {
				s, _, _ := strings.Cut(string(data), "\x00")
				s, _, _ = strings.Cut(s, "\n")
				return set(s)
			},
		})
	}
	add("core_pattern", func() string {
		s, _ := fs.k.CorePattern()
		return s
	}, func(s string) error {
		fs.k.SetCorePattern(s)
		return nil
	})
	add("core_uses_pid", func() string {
		if _, yes := fs.k.CorePattern(); yes {
			return "1"
		}
		return "0"
	}, func(s string) error {
		n, err := parseInt([]byte(s))
		if err == nil {
			fs.k.SetCoreUsesPID(n != 0)
		}
		return err
	})
}
