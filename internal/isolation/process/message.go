package process

import (
	"encoding/binary"

	"coffer/internal/seccomp/profile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// instructions are the first message to init: all that it needs to know, in the form of
// package handover, since init is of the same executable. Open
// files come along: for a container the socket on which it waits for Start, and
// what hostMounts holds if it is to be in the host's mount namespace.
type instructions struct {
	// Exec has it run another program in a container that exists.
	Exec bool
	ID   string
	// Bundle and Spec are those of the container that is made. For an Exec, Spec
	// has no more than Process and the fields of Linux that say how each process is
	// to be.
	Bundle       string
	Spec         *specs.Spec
	Filter       *filter
	NoPivot      bool
	NoNewKeyring bool
	Rootless     bool
	// Extra is how many descriptors from 3 on the program inherits.
	Extra int
	// Reap has it stay process 1 and run the program as a child.
	Reap bool
	// UserCwd is that of isolation.Request.
	UserCwd bool
	// Terminal has it open a terminal and report its master.
	Terminal bool
}

// sent is a Spec without what init has no use for: the seccomp profile, for instance, is in
// Filter.
func sent(s *specs.Spec) *specs.Spec {
	out := *s
	out.Annotations, out.Solaris, out.Windows, out.VM, out.ZOS, out.FreeBSD = nil, nil, nil, nil, nil, nil
	if s.Linux != nil {
		linux := *s.Linux
		linux.Resources, linux.Seccomp, linux.IntelRdt = nil, nil, nil
		out.Linux = &linux
	}
	return &out
}

// The words of the conversation. Init says what it has reached, and waits for
// the word to go on; "created" and "error" end the first conversation.
const (
	// sayPrepared: the mounts are there, the old root still is. The answer
	// brings the state for the hooks of createContainer.
	sayPrepared = "prepared"
	// sayReady: all is made that takes the privileges of the container's root.
	// With the master of the terminal, if there is one.
	sayReady = "ready"
	// sayFiltered brings the listener of a seccomp filter.
	sayFiltered = "filtered"
	// sayCreated: the program waits for Start. Or, for an Exec, is next.
	sayCreated = "created"
	// sayStarting answers a request to start.
	sayStarting = "starting"
	// sayError: it failed, and ends.
	sayError = "error"
	// sayWarning: something is not as it should be, but that ends nothing. There
	// is no answer.
	sayWarning = "warning"

	wordGo    = "go"
	wordStart = "start"
)

// report is what init says.
type report struct {
	Say string `json:"say"`
	// Error says what failed, or what the warning is, and Program whether that is the program's own
	// fault rather than ours: it is missing or can't be executed.
	Error   string `json:"error,omitempty"`
	Program int    `json:"program,omitempty"`
}

// word is what init is told.
type word struct {
	Word  string       `json:"word"`
	State *specs.State `json:"state,omitempty"`
	// Sources are the keys of the files that come along with the first word
	// (rootfs.OpenSources).
	Sources []int `json:"sources,omitempty"`
}

// filter is a profile.Program on its way to init: compiled by the parent,
// since that is faster than to send the profile.
type filter struct {
	Code   []byte
	Flags  uint
	Notify bool
}

// instructionSize is the size of struct sock_filter, in bytes.
const instructionSize = 8

func newFilter(p *profile.Program) *filter {
	if p == nil {
		return nil
	}
	f := &filter{Flags: p.Flags, Notify: p.Notify, Code: make([]byte, 0, instructionSize*len(p.Filter))}
	for _, in := range p.Filter {
		f.Code = binary.LittleEndian.AppendUint16(f.Code, in.Code)
		f.Code = append(f.Code, in.Jt, in.Jf)
		f.Code = binary.LittleEndian.AppendUint32(f.Code, in.K)
	}
	return f
}

func (f *filter) program() *profile.Program {
	if f == nil {
		return nil
	}
	p := &profile.Program{Flags: f.Flags, Notify: f.Notify, Filter: make([]unix.SockFilter, 0, len(f.Code)/instructionSize)}
	for b := f.Code; len(b) >= instructionSize; b = b[instructionSize:] {
		p.Filter = append(p.Filter, unix.SockFilter{
			Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:]),
		})
	}
	return p
}
