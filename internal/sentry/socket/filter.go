package socket

import (
	"encoding/binary"

	"coffer/internal/bpf"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// CopyInFilter reads the program that a struct sock_fprog, the value of
// SO_ATTACH_FILTER, leads to. EINVAL if it is not one that a socket may have.
func CopyInFilter(c vfs.Caller, value []byte) (*bpf.SocketFilter, error) {
	const sizeofProgram, sizeofInstruction = 16, 8
	if len(value) != sizeofProgram || binary.LittleEndian.Uint64(value[8:]) == 0 {
		return nil, unix.EINVAL
	}
	n := int(binary.LittleEndian.Uint16(value))
	if n == 0 || n > bpf.MaxInstructions {
		return nil, unix.EINVAL
	}
	raw := make([]byte, n*sizeofInstruction)
	if _, err := c.CopyIn(binary.LittleEndian.Uint64(value[8:]), raw); err != nil {
		return nil, err
	}
	code := make([]unix.SockFilter, n)
	for i := range code {
		b := raw[i*sizeofInstruction:]
		code[i] = unix.SockFilter{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])}
	}
	return bpf.NewSocketFilter(code)
}
