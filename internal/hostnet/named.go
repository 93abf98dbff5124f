package hostnet

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// Names lists the named networks.
func (n *Networks) Names() ([]string, error) {
	entries, err := os.ReadDir(n.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			names = append(names, name)
		}
	}
	return names, nil
}
