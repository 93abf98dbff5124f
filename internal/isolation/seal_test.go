package isolation

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSealBusy: a file of which somebody holds a page is sealed once he does no longer. Here a pipe does.
func TestSealBusy(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	size := unix.Getpagesize()
	if _, err := unix.Write(fd, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	page, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	v := unix.Iovec{Base: &page[0]}
	v.SetLen(size)
	if _, err := unix.Vmsplice(pipe[1], []unix.Iovec{v}, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Munmap(page); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); !errors.Is(err, unix.EBUSY) {
		t.Skipf("the host does not mind: %v", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { unix.Read(pipe[0], make([]byte, size)) })
	if err := Seal(fd); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte("x")); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing: %v", err)
	}
}
