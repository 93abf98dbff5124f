package container

import (
	"fmt"
)

// maxID is how long an ID may be: it is the name of a directory, and of a
// cgroup.
const maxID = 255

// CheckID refuses IDs that could not be, or should not be, a file's name.
func CheckID(id string) error {
	const cure = "it is made of letters, digits, '_', '+', '-' and '.'"
	switch {
	case id == "":
		return fmt.Errorf("invalid container ID format: it is empty: %s", cure)
	case len(id) > maxID:
		return fmt.Errorf("invalid container ID format: it has %d characters, and %d are allowed", len(id), maxID)
	case id == "." || id == "..":
		return fmt.Errorf("invalid container ID format: %q is a directory's own name", id)
	}
	for i := 0; i < len(id); i++ {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '+', c == '-', c == '.':
		default:
			return fmt.Errorf("invalid container ID format: %q: %s", id, cure)
		}
	}
	return nil
}
