package identity

import (
	"bytes"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (s *Settings) checkUser() error {
	u := s.Process.User
	if s.Rootless && len(u.AdditionalGids) > 0 {
		return fmt.Errorf("process.user.additionalGids: a container whose user namespace maps one group only can have no additional ones; map more in linux.gidMappings (which takes newgidmap and a range in /etc/subgid), or leave them out")
	}
	if u.UID == ^uint32(0) || u.GID == ^uint32(0) {
		return fmt.Errorf("process.user: %d is no ID: it stands for none", ^uint32(0))
	}
	return nil
}

// setUser takes on groups and user. Permitted capabilities stay, for apply to
// choose from.
func (s *Settings) setUser() error {
	u := s.Process.User
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keeping capabilities over the change of user: %w", err)
	}
	if err := setGroups(u.AdditionalGids); err != nil {
		return err
	}
	// The functions of package syscall do this on all threads of a process,
	// which takes signals to them. One thread is enough for execve(2).
	if err := setIDs(unix.SYS_SETRESGID, u.GID); err != nil {
		return fmt.Errorf("becoming group %d (process.user.gid): %w", u.GID, unmapped(err, "gidMappings"))
	}
	if err := setIDs(unix.SYS_SETRESUID, u.UID); err != nil {
		return fmt.Errorf("becoming user %d (process.user.uid): %w", u.UID, unmapped(err, "uidMappings"))
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("no longer keeping capabilities: %w", err)
	}
	if u.Umask != nil {
		unix.Umask(int(*u.Umask))
	}
	return nil
}

func setIDs(call uintptr, id uint32) error {
	if _, _, errno := unix.RawSyscall(call, uintptr(id), uintptr(id), uintptr(id)); errno != 0 {
		return errno
	}
	return nil
}

// setGroups sets the additional groups, unless the user namespace forbids it,
// as it does where its owner has no privileges outside (user_namespaces(7)):
// then there must be none to set.
func setGroups(gids []uint32) error {
	p := unsafe.Pointer(nil)
	if len(gids) > 0 {
		p = unsafe.Pointer(&gids[0])
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(gids)), uintptr(p), 0)
	if errno == 0 || errno == unix.EPERM && len(gids) == 0 && setgroupsDenied() {
		return nil
	}
	return fmt.Errorf("setting the additional groups %v (process.user.additionalGids): %w", gids, unmapped(errno, "gidMappings"))
}

// setgroupsDenied reports whether setgroups(2) is forbidden in the user
// namespace.
func setgroupsDenied() bool {
	data, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && bytes.HasPrefix(data, []byte("deny"))
}

// unmapped explains the errors of IDs.
func unmapped(err error, field string) error {
	switch err {
	case unix.EINVAL:
		return fmt.Errorf("%w: the container's user namespace does not map this ID; add it to linux.%s", err, field)
	case unix.EPERM:
		return fmt.Errorf("%w: the caller lacks the capability for it, or its user namespace forbids setgroups(2)", err)
	}
	return err
}
