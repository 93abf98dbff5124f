package mm

import (
	"coffer/internal/sentry/vfs"
)

// Info is what an address space remembers of the program in it: the fields
// that prctl(2)'s PR_SET_MM changes and /proc/PID/stat, cmdline, environ and
// auxv show.
type Info struct {
	StartCode, EndCode uint64
	StartData, EndData uint64
	StartBrk, Brk      uint64
	StartStack         uint64
	ArgStart, ArgEnd   uint64
	EnvStart, EnvEnd   uint64
	Auxv               []byte // as on the stack, with the AT_NULL entry
}

// Totals are sizes in bytes, as /proc/PID/status has them.
type Totals struct {
	Size, Peak         uint64 // VmSize, VmPeak
	Data, Stack        uint64 // VmData, VmStk
	Code, Shared       uint64 // executable file mappings; shared mappings
	Exe, Lib           uint64 // VmExe, VmLib
	Locked, PeakLocked uint64 // VmLck
}

// Info returns a copy of the program's fields.
func (m *MemoryManager) Info() Info {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.info
}

// UpdateInfo changes the fields by f, which must not call m.
func (m *MemoryManager) UpdateInfo(f func(*Info)) {
	m.mu.Lock()
	defer m.unlock()
	f(&m.info)
}

// Exe returns the program's file with a reference taken, or nil.
func (m *MemoryManager) Exe() *vfs.FileDescription {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.exe != nil {
		m.exe.IncRef()
	}
	return m.exe
}

// SetExe sets the program's file, taking a reference of its own.
func (m *MemoryManager) SetExe(f *vfs.FileDescription) {
	m.mu.Lock()
	defer m.unlock()
	m.drop(m.exe)
	if f != nil {
		f.IncRef()
	}
	m.exe = f
}

// Dumpable returns prctl(2)'s PR_GET_DUMPABLE: 1 yes, 0 no, 2 root only.
func (m *MemoryManager) Dumpable() int32 { return m.dumpable.Load() }

// SetDumpable sets it.
func (m *MemoryManager) SetDumpable(v int32) { m.dumpable.Store(v) }

// Totals returns the sizes.
func (m *MemoryManager) Totals() Totals {
	m.mu.RLock()
	defer m.mu.RUnlock()
	t := m.sums
	t.Exe = min(t.Code, sub(pageUp(m.info.EndCode), pageDown(m.info.StartCode)))
	t.Lib = t.Code - t.Exe
	return t
}

// RegisterBarrier notes that the address space's tasks use one of
// membarrier(2)'s commands; command is the bit of the registering command.
func (m *MemoryManager) RegisterBarrier(command uint32) { m.membarrier.Or(command) }

// Barriers returns the registrations.
func (m *MemoryManager) Barriers() uint32 { return m.membarrier.Load() }
