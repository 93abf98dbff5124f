package hostnet

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRulesError(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		unix.ENOBUFS: "give fewer ports and addresses to --egress", // 60,000 rules, for 1024 of 64 ports each
		unix.ENOENT:  "the kernel must have nf_tables",
	} {
		err := rulesError(os.NewSyscallError("recvmsg", errno))
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := rulesError(nil); err != nil {
		t.Error(err)
	}
}
