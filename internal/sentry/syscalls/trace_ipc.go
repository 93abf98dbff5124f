package syscalls

import (
	"slices"
	"strconv"

	"coffer/internal/sentry/ipc"

	"golang.org/x/sys/unix"
)

// permFields are those of struct ipc_perm, with which the structures of
// semctl(2), msgctl(2) and shmctl(2) begin.
var permFields = []field{
	{name: "key", size: 4, kind: Hex}, {name: "uid", offset: 4, size: 4, kind: Unsigned}, {name: "gid", offset: 8, size: 4, kind: Unsigned},
	{name: "mode", offset: 20, size: 4, kind: Mode},
}

var (
	semDSLayout = layout{size: ipc.PermSize + 40, more: true, fields: slices.Concat(permFields, []field{
		{name: "sem_otime", offset: 48, size: 8}, {name: "sem_nsems", offset: 80, size: 8},
	})}
	msgDSLayout = layout{size: ipc.MsqidSize, more: true, fields: slices.Concat(permFields, []field{
		{name: "msg_cbytes", offset: 72, size: 8}, {name: "msg_qnum", offset: 80, size: 8}, {name: "msg_qbytes", offset: 88, size: 8},
		{name: "msg_lspid", offset: 96, size: 4}, {name: "msg_lrpid", offset: 100, size: 4},
	})}
	shmDSLayout = layout{size: ipc.PermSize + 48, more: true, fields: slices.Concat(permFields, []field{
		{name: "shm_segsz", offset: 48, size: 8}, {name: "shm_cpid", offset: 80, size: 4}, {name: "shm_lpid", offset: 84, size: 4},
		{name: "shm_nattch", offset: 88, size: 8},
	})}
)

// semOpLayout is that of struct sembuf.
var semOpLayout = layout{size: 6, fields: []field{
	{name: "sem_num", size: 2, kind: Unsigned}, {name: "sem_op", offset: 2, size: 2},
	{name: "sem_flg", offset: 4, size: 2, kind: Flags, flags: &FlagSet{Names: []FlagName{
		{ipc.NoWait, "IPC_NOWAIT"}, {ipc.SemUndo, "SEM_UNDO"},
	}}},
}}

// appendSemOps renders n struct sembuf.
func (g *guestView) appendSemOps(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendArray(b, mem, addr, uint64(uint32(n)), semOpLayout.size, semOpLayout.append)
}

// appendSemValues renders the value of each semaphore in the set that is the
// call's first argument.
func (g *guestView) appendSemValues(b []byte, mem *[]byte, addr, _ uint64) []byte {
	if g.t == nil {
		return appendPtr(b, addr)
	}
	set, err := g.t.IPC().Semaphores.Find(g.args.Int(0))
	if err != nil {
		return appendPtr(b, addr)
	}
	return g.appendArray(b, mem, addr, uint64(set.Len()), 2, func(b, s []byte) []byte {
		return strconv.AppendUint(b, uint64(native.Uint16(s)), 10)
	})
}

// appendMsgBuf renders struct msgbuf with n bytes of text.
func (g *guestView) appendMsgBuf(b []byte, mem *[]byte, addr, n uint64) []byte {
	s := g.read(mem, addr, 8)
	if len(s) < 8 {
		return appendPtr(b, addr)
	}
	b = append(b, "{mtype="...)
	b = strconv.AppendInt(b, int64(native.Uint64(s)), 10)
	b = append(b, ", mtext="...)
	b = g.appendBuffer(b, mem, addr+8, n)
	return append(b, '}')
}

// mqAttrLayout is that of struct mq_attr.
var mqAttrLayout = layout{size: 64, fields: []field{
	{name: "mq_flags", size: 8, kind: Flags, flags: &FlagSet{Names: []FlagName{{unix.O_NONBLOCK, "O_NONBLOCK"}}}},
	{name: "mq_maxmsg", offset: 8, size: 8}, {name: "mq_msgsize", offset: 16, size: 8}, {name: "mq_curmsgs", offset: 24, size: 8},
}}
