package identity

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"coffer/internal/isolation/process/rootfs"

	"golang.org/x/sys/unix"
)

// unconfined is the AppArmor profile that confines nothing.
const unconfined = "unconfined"

func (s *Settings) checkLabels() error {
	p := s.Process
	if p.ApparmorProfile != "" && p.ApparmorProfile != unconfined && !apparmorEnabled() {
		return fmt.Errorf("process.apparmorProfile is %q, but AppArmor is not enabled on this host; enable it, or leave the profile out", p.ApparmorProfile)
	}
	if p.SelinuxLabel != "" && !selinuxEnabled() {
		return fmt.Errorf("process.selinuxLabel is %q, but SELinux is not enabled on this host; enable it, or leave the label out", p.SelinuxLabel)
	}
	if p.ApparmorProfile != "" && p.SelinuxLabel != "" && p.ApparmorProfile != unconfined {
		return errors.New("process.apparmorProfile and process.selinuxLabel are both set; a host enforces one of them, so leave the other out")
	}
	if strings.ContainsAny(p.ApparmorProfile, "\x00\n") {
		return fmt.Errorf("process.apparmorProfile is %q; it must be one line", p.ApparmorProfile)
	}
	if strings.ContainsAny(p.SelinuxLabel, "\x00\n") {
		return fmt.Errorf("process.selinuxLabel is %q; it must be one line", p.SelinuxLabel)
	}
	return nil
}

// apparmorEnabled and selinuxEnabled report whether the host enforces labels
// of the kind.
func apparmorEnabled() bool {
	data, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(data), "Y")
}

func selinuxEnabled() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/selinux", &st) == nil && uint32(st.Type) == unix.SELINUX_MAGIC
}

// Labels has the program start under its AppArmor profile or SELinux label.
func (s *Settings) Labels() error {
	if profile := s.Process.ApparmorProfile; profile != "" && (profile != unconfined || apparmorEnabled()) {
		// Before Linux 5.8 there was only the file that all modules share.
		err := writeAttr("exec "+profile, "apparmor/exec", "exec")
		if errors.Is(err, unix.ENOENT) {
			err = fmt.Errorf("%w: the profile may not be loaded; see aa-status(8)", err)
		}
		if err != nil {
			return fmt.Errorf("setting process.apparmorProfile to %q: %w", profile, err)
		}
	}
	if label := s.Process.SelinuxLabel; label != "" {
		if err := writeAttr(label, "exec"); err != nil {
			return fmt.Errorf("setting process.selinuxLabel to %q: %w", label, err)
		}
	}
	return nil
}

// writeAttr writes an attribute of the calling thread for security modules:
// proc_pid_attr(5), by the first of the names that is there. The file is surely
// procfs's.
func writeAttr(value string, names ...string) error {
	var f *os.File
	var err error
	for _, name := range names {
		f, err = rootfs.OpenProc("thread-self/attr/"+name, unix.O_WRONLY)
		if !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}
