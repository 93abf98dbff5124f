package abi

import "encoding/binary"

// SiginfoSize is the size of siginfo_t in guest memory.
const SiginfoSize = 128

// Siginfo is siginfo_t as amd64 lays it out: three ints, and a union whose
// members the methods below name. The union is kept as bytes since
// rt_sigqueueinfo(2) may send any.
type Siginfo struct {
	Signo, Errno, Code int32
	_                  int32
	// Fields is the union _sifields, from offset 16 on.
	Fields [SiginfoSize - 16]byte
}

var le = binary.LittleEndian

// Bytes returns the structure as guest memory holds it.
func (s *Siginfo) Bytes() (b [SiginfoSize]byte) {
	le.PutUint32(b[0:], uint32(s.Signo))
	le.PutUint32(b[4:], uint32(s.Errno))
	le.PutUint32(b[8:], uint32(s.Code))
	copy(b[16:], s.Fields[:])
	return b
}

// ParseSiginfo reads the structure from bytes of guest memory.
func ParseSiginfo(b *[SiginfoSize]byte) (s Siginfo) {
	s.Signo = int32(le.Uint32(b[0:]))
	s.Errno = int32(le.Uint32(b[4:]))
	s.Code = int32(le.Uint32(b[8:]))
	copy(s.Fields[:], b[16:])
	return s
}

func (s *Siginfo) get32(off int) uint32    { return le.Uint32(s.Fields[off:]) }
func (s *Siginfo) put32(off int, v uint32) { le.PutUint32(s.Fields[off:], v) }
func (s *Siginfo) get64(off int) uint64    { return le.Uint64(s.Fields[off:]) }
func (s *Siginfo) put64(off int, v uint64) { le.PutUint64(s.Fields[off:], v) }

// PID and UID are si_pid and si_uid of kill, sigqueue and SIGCHLD.
func (s *Siginfo) PID() int32      { return int32(s.get32(0)) }
func (s *Siginfo) SetPID(v int32)  { s.put32(0, uint32(v)) }
func (s *Siginfo) UID() uint32     { return s.get32(4) }
func (s *Siginfo) SetUID(v uint32) { s.put32(4, v) }

// TimerID and Overrun are si_timerid and si_overrun of SI_TIMER.
func (s *Siginfo) TimerID() int32     { return int32(s.get32(0)) }
func (s *Siginfo) SetTimerID(v int32) { s.put32(0, uint32(v)) }
func (s *Siginfo) Overrun() int32     { return int32(s.get32(4)) }
func (s *Siginfo) SetOverrun(v int32) { s.put32(4, uint32(v)) }

// Value is si_value (sival_ptr) of sigqueue and timers.
func (s *Siginfo) Value() uint64     { return s.get64(8) }
func (s *Siginfo) SetValue(v uint64) { s.put64(8, v) }

// Status, Utime and Stime (in clock ticks) are SIGCHLD's.
func (s *Siginfo) Status() int32     { return int32(s.get32(8)) }
func (s *Siginfo) SetStatus(v int32) { s.put32(8, uint32(v)) }
func (s *Siginfo) Utime() int64      { return int64(s.get64(16)) }
func (s *Siginfo) SetUtime(v int64)  { s.put64(16, uint64(v)) }
func (s *Siginfo) Stime() int64      { return int64(s.get64(24)) }
func (s *Siginfo) SetStime(v int64)  { s.put64(24, uint64(v)) }

// Addr is si_addr, a fault's address; AddrLSB is si_addr_lsb of SIGBUS.
func (s *Siginfo) Addr() uint64     { return s.get64(0) }
func (s *Siginfo) SetAddr(v uint64) { s.put64(0, v) }
func (s *Siginfo) AddrLSB() uint16  { return le.Uint16(s.Fields[8:]) }

// Band and FD are si_band and si_fd of SIGIO.
func (s *Siginfo) Band() int64     { return int64(s.get64(0)) }
func (s *Siginfo) SetBand(v int64) { s.put64(0, uint64(v)) }
func (s *Siginfo) FD() int32       { return int32(s.get32(8)) }
func (s *Siginfo) SetFD(v int32)   { s.put32(8, uint32(v)) }

// SetCall sets si_call_addr, si_syscall and si_arch of SIGSYS.
func (s *Siginfo) SetCall(addr uint64, nr int32, arch uint32) {
	s.put64(0, addr)
	s.put32(8, uint32(nr))
	s.put32(12, arch)
}
