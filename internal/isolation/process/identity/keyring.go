package identity

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Rights of others over a key: include/linux/key.h.
const (
	userSearch  = 0x00080000
	otherSearch = 0x00000008
)

// Keyring gives the process a session keyring of the container's, named after
// it as by other runtimes. It comes before labels and users. The keys that the
// caller has in its own can't be found from then on.
func (s *Settings) Keyring() error {
	if s.NoNewKeyring {
		return nil
	}
	fail := func(err error) error {
		return fmt.Errorf("giving the container a session keyring: %w (or keep the caller's, with --no-new-keyring)", err)
	}
	if label := s.Process.SelinuxLabel; label != "" {
		if err := writeAttr(label, "keycreate"); err != nil {
			return fail(fmt.Errorf("labelling it %q: %w", label, err))
		}
		defer writeAttr("", "keycreate")
	}
	id, err := unix.KeyctlJoinSessionKeyring("_ses." + s.ID)
	switch {
	case errors.Is(err, unix.ENOSYS):
		return nil // this kernel has no keyrings, so none is shared
	case errors.Is(err, unix.EDQUOT):
		return fail(fmt.Errorf("%w: the user has as many keys as kernel.keys.maxkeys or root_maxkeys allows; raise it", err))
	case err != nil:
		return fail(err)
	}
	// The user of the container, who is another one than made it, must be able
	// to search it.
	right := uint32(userSearch)
	if slices.ContainsFunc(s.linux().Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace }) {
		right = otherSearch
	}
	owner, rights, err := describeKey(id)
	if err != nil {
		return fail(err)
	}
	// Names are the same for all users of a user namespace, and Linux joins a
	// keyring that there is: somebody may have made one to see the container's keys.
	if owner != os.Geteuid() {
		return fail(fmt.Errorf("user %d has made one named _ses.%s: choose another ID for the container", owner, s.ID))
	}
	if err := unix.KeyctlSetperm(id, rights|right); err != nil {
		return fail(fmt.Errorf("letting the container search it: %w", err))
	}
	return nil
}

// describeKey returns the user who owns a key, and the rights over it:
// keyctl_describe(3).
func describeKey(id int) (owner int, rights uint32, err error) {
	text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, id)
	if err != nil {
		return 0, 0, fmt.Errorf("describing key %d: %w", id, err)
	}
	fields := strings.Split(text, ";")
	if len(fields) < 5 {
		return 0, 0, fmt.Errorf("the kernel describes key %d as %q", id, text)
	}
	owner, err = strconv.Atoi(fields[1])
	r, rerr := strconv.ParseUint(fields[3], 16, 32)
	if err = errors.Join(err, rerr); err != nil {
		return 0, 0, fmt.Errorf("the kernel describes key %d as %q: %w", id, text, err)
	}
	return owner, uint32(r), nil
}
