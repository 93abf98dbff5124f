package coredump

import (
	"encoding/binary"
	"time"
	"unsafe"

	"coffer/internal/sentry/abi"
)

// Types of notes (linux/elf.h); those of ntLinux are of owner "LINUX", the
// others of owner "CORE".
const (
	ntPRStatus = 1
	ntFPRegSet = 2
	ntPRPSInfo = 3
	ntAuxv     = 6
	ntFile     = 0x46494c45
	ntSiginfo  = 0x53494749
	ntXState   = 0x202
)

// Sizes of what notes hold on amd64 (linux/elfcore.h).
const (
	statusSize = 336
	psinfoSize = 136
	fpRegsSize = 512
	regsSize   = int(unsafe.Sizeof(abi.Regs{}))
)

var le = binary.LittleEndian

// notes are a segment of notes, each aligned to 4 bytes.
type notes []byte

func (n *notes) add(owner string, kind uint32, desc []byte) {
	b := le.AppendUint32(*n, uint32(len(owner)+1))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = le.AppendUint32(b, kind)
	b = padded(append(b, owner+"\x00"...))
	*n = padded(append(b, desc...))
}

// padded appends zeros up to a multiple of 4.
func padded(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// notes are all of the process's: those of the thread that the signal struck
// come first, which is where debuggers begin.
func (p *Process) notes() notes {
	var n notes
	for i := range p.Threads {
		t := &p.Threads[i]
		n.add("CORE", ntPRStatus, p.status(t))
		if i == 0 {
			n.add("CORE", ntPRPSInfo, p.psinfo())
			info := p.Signal.Bytes()
			n.add("CORE", ntSiginfo, info[:])
			n.add("CORE", ntAuxv, p.Auxv)
			n.add("CORE", ntFile, p.files())
		}
		if len(t.FP) >= fpRegsSize {
			n.add("CORE", ntFPRegSet, t.FP[:fpRegsSize])
			n.add("LINUX", ntXState, t.FP)
		}
	}
	return n
}

// status is a thread's struct elf_prstatus.
func (p *Process) status(t *Thread) []byte {
	b := make([]byte, 0, statusSize)
	for _, v := range [...]int32{p.Signal.Signo, p.Signal.Code, p.Signal.Errno} {
		b = le.AppendUint32(b, uint32(v))
	}
	b = le.AppendUint32(b, uint32(p.Signal.Signo)) // pr_cursig, a short, and padding
	b = le.AppendUint64(b, t.Pending)
	b = le.AppendUint64(b, t.Blocked)
	for _, v := range [...]int32{t.TID, p.PPID, p.PGID, p.SID} {
		b = le.AppendUint32(b, uint32(v))
	}
	for _, v := range [...]time.Duration{t.User, t.System, p.ChildUser, p.ChildSystem} {
		b = le.AppendUint64(b, uint64(v/time.Second))
		b = le.AppendUint64(b, uint64(v%time.Second/time.Microsecond))
	}
	b = append(b, unsafe.Slice((*byte)(unsafe.Pointer(&t.Regs)), regsSize)...)
	valid := uint32(0)
	if len(t.FP) >= fpRegsSize {
		valid = 1
	}
	return le.AppendUint64(b, uint64(valid))
}

// psinfo is the process's struct elf_prpsinfo.
func (p *Process) psinfo() []byte {
	b := make([]byte, psinfoSize)
	b[1] = 'R' // as Linux, which says nothing of the other threads
	b[3] = byte(p.Nice)
	le.PutUint32(b[16:], p.UID)
	le.PutUint32(b[20:], p.GID)
	for i, v := range [...]int32{p.PID, p.PPID, p.PGID, p.SID} {
		le.PutUint32(b[24+4*i:], uint32(v))
	}
	copy(b[40:55], p.Comm)
	copy(b[56:135], p.Args)
	return b
}

// files tells which files are mapped where.
func (p *Process) files() []byte {
	var table, names []byte
	count := uint64(0)
	for i := range p.Regions {
		r := &p.Regions[i]
		if r.FileName == "" {
			continue
		}
		count++
		for _, v := range [...]uint64{r.Start, r.End, r.Offset / pageSize} {
			table = le.AppendUint64(table, v)
		}
		names = append(append(names, r.FileName...), 0)
	}
	b := le.AppendUint64(le.AppendUint64(nil, count), pageSize)
	return append(append(b, table...), names...)
}
