package syscalls

import (
	"coffer/internal/sentry/ipc"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// The commands that shmctl(2), semctl(2) and msgctl(2) share. IPC_64 may be
// or'ed to them; on amd64 it changes nothing.
const (
	ipcRmid = 0
	ipcSet  = 1
	ipcStat = 2
	ipcInfo = 3
	ipc64   = 0x100
)

// ipcFlags are the flags of shmget(2), semget(2) and msgget(2).
var ipcFlags = &FlagSet{Names: []FlagName{{ipc.Creat, "IPC_CREAT"}, {ipc.Excl, "IPC_EXCL"}}, Octal: true}

var ipcCommands = []FlagName{
	{ipcRmid, "IPC_RMID"}, {ipcSet, "IPC_SET"}, {ipcStat, "IPC_STAT"}, {ipcInfo, "IPC_INFO"},
}

// ints lays integers out as consecutive C ints.
func ints(values ...int32) []byte {
	var b []byte
	for _, v := range values {
		b = le.AppendUint32(b, uint32(v))
	}
	return b
}

// copyOutBytes writes b and returns v, for the commands whose result is a
// number and a structure.
func copyOutBytes(t *kernel.Task, addr uint64, b []byte, v int32) (uintptr, error) {
	if _, err := t.CopyOut(addr, b); err != nil {
		return 0, err
	}
	return uintptr(v), nil
}

// copyInPerm reads the structure of IPC_SET, which begins with the Perm, up
// to size bytes.
func copyInPerm(t *kernel.Task, addr uint64, size int) (ipc.Perm, []byte, error) {
	b := make([]byte, size)
	if _, err := t.CopyIn(addr, b); err != nil {
		return ipc.Perm{}, nil, unix.EFAULT
	}
	return ipc.DecodePerm(t.IPCActor(), b), b, nil
}
