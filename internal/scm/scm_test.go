package scm

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDescriptors(t *testing.T) {
	rights := func(fds ...int) []byte { return unix.UnixRights(fds...) }
	length := func(control []byte, n int) []byte {
		binary.NativeEndian.PutUint64(control, uint64(n)) // cmsg_len
		return control
	}
	for _, c := range []struct {
		name    string
		control []byte
		want    []int
		fails   bool
	}{
		{"none", nil, nil, false},
		{"one", rights(3), []int{3}, false},
		{"several", rights(3, 9, 4), []int{3, 9, 4}, false},
		{"two messages", append(rights(3), rights(4, 5)...), []int{3, 4, 5}, false},
		{"credentials too", append(unix.UnixCredentials(&unix.Ucred{Pid: 1}), rights(7)...), []int{7}, true},
		{"cut off", rights(3)[:unix.CmsgLen(2)], nil, true},
		{"not whole", length(rights(3, 9), unix.CmsgLen(4+2)), []int{3}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Descriptors(c.control)
			if !slices.Equal(got, c.want) || (err != nil) != c.fails {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestSpace(t *testing.T) {
	if got, need := Space(3), len(unix.UnixRights(0, 1, 2)); got != need {
		t.Errorf("%d bytes for three descriptors, which take %d", got, need)
	}
}

// FuzzDescriptors: control data is the kernel's, but what is in it others choose.
func FuzzDescriptors(f *testing.F) {
	f.Add(unix.UnixRights(1, 2))
	f.Add(unix.UnixCredentials(&unix.Ucred{Pid: 1}))
	f.Fuzz(func(t *testing.T, control []byte) {
		if fds, _ := Descriptors(control); len(fds)*4 > len(control) {
			t.Errorf("%d descriptors in %d bytes", len(fds), len(control))
		}
	})
}
