package syscalls

import (
	"testing"

	"coffer/internal/seccomp/sysno"
)

// Profiles name calls as the table does: a filter that is compiled from names
// meets the rows' numbers.
func TestNamesAreThoseOfSeccompProfiles(t *testing.T) {
	for _, r := range New().Rows() {
		c := sysno.Find(r.Name)
		if c == nil {
			t.Errorf("package sysno lacks %s (%d)", r.Name, r.Number)
			continue
		}
		if nr, ok := c.Number(sysno.AMD64); !ok || uint64(nr) != r.Number {
			t.Errorf("%s is %d here and %d, %v in package sysno", r.Name, r.Number, nr, ok)
		}
	}
}
