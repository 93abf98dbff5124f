package syscalls

// Param is the kind of one argument: how --trace shows it.
type Param struct {
	Name string
	Kind Kind
	// Flags names the bits or values of a Flags or Enum kind.
	Flags *FlagSet
}

// Kind says how an argument is rendered.
type Kind int

// The kinds. "Out" kinds are rendered after the call, from what it wrote.
const (
	Dec            Kind = iota // signed decimal
	Unsigned                   // unsigned decimal
	Hex                        // 0x...
	Ptr                        // address, NULL for 0
	FD                         // descriptor, with its path
	DirFD                      // descriptor or AT_FDCWD
	PathStr                    // NUL-terminated path
	Str                        // NUL-terminated string
	Buf                        // bytes read by the call; the next argument is the length
	OutBuf                     // bytes written by the call; the result is the length
	Mode                       // octal
	Flags                      // bit set named by Flags
	Enum                       // one value named by Flags
	Signal                     // signal number
	SigSet                     // pointer to a 64-bit signal set
	OutSigSet                  //
	Timespec                   // pointer to struct timespec
	OutTimespec                //
	OutStat                    // pointer to struct stat
	StrVec                     // argv, envp
	Sockaddr                   // pointer to a socket address; the next argument is the length
	IOVec                      // pointer to struct iovec; the next argument is the count
	OutFDPair                  // int[2] of pipe2 and socketpair
	Timeval                    // pointer to struct timeval
	OutTimeval                 //
	Itimerspec                 // pointer to struct itimerspec
	OutItimerspec              //
	Itimerval                  // pointer to struct itimerval
	OutItimerval               //
	RLimit                     // pointer to struct rlimit
	OutRLimit                  //
	OutInt                     // pointer to an int that the call writes
	OutStr                     // NUL-terminated string written by the call
	OutSockaddr                // socket address written; the next argument points to its length
	PollFDs                    // array of struct pollfd; the next argument is the count
	OutStatx                   // pointer to struct statx
	OutWaitStatus              // pointer to a wait status
	Sigaction                  // pointer to struct kernel_sigaction
	OutSigaction               //
	CloneArgs                  // pointer to struct clone_args
	FcntlArg                   // fcntl(2)'s last; the argument before it is the command
	OpenMode                   // octal, if the flags before it create a file
	EpollEvent                 // pointer to struct epoll_event
	OutEpollEvents             // array of struct epoll_event; the result is the count
	OutUtsname                 // pointer to struct utsname
	OutSysinfo                 // pointer to struct sysinfo
	OutTms                     // pointer to struct tms
	OutStatfs                  // pointer to struct statfs
	OutRusage                  // pointer to struct rusage
	OutWaitRusage              // the same, written if the result is not 0
	OptionName                 // socket option; Flags are SOL_SOCKET's, and the argument before it is the level
	Option                     // socket option's value; the next argument is the length
	OutOption                  // the same, written by the call; the next argument points to its length
	Clock                      // clock ID
)

// isOut reports whether the kind is rendered after the call.
func (k Kind) isOut() bool {
	switch k {
	case OutBuf, OutSigSet, OutTimespec, OutStat, OutFDPair, OutTimeval, OutItimerspec,
		OutItimerval, OutRLimit, OutInt, OutStr, OutSockaddr, PollFDs, OutStatx, OutWaitStatus,
		OutSigaction, OutEpollEvents, OutUtsname, OutSysinfo, OutTms, OutStatfs, OutRusage,
		OutWaitRusage, OutOption:
		return true
	}
	return false
}

// P makes a parameter.
func P(name string, kind Kind) Param { return Param{Name: name, Kind: kind} }

// PF makes a parameter whose bits or values have names.
func PF(name string, kind Kind, f *FlagSet) Param { return Param{name, kind, f} }

// FlagSet names bits (for Flags) or values (for Enum). Names are in order;
// for bit sets a name may stand for several bits.
type FlagSet struct {
	Names []FlagName
	// Mask, if not zero, are bits that hold one of Values rather than bits
	// (O_ACCMODE in open flags).
	Mask   uint64
	Values []FlagName
}

// FlagName is a value and its name.
type FlagName struct {
	Value uint64
	Name  string
}

// append renders v as names joined by "|", and what has no name in hex. An
// Enum (bits false) is one name or a number.
func (f *FlagSet) append(b []byte, v uint64, bits bool) []byte {
	if f == nil {
		return appendHex(b, v)
	}
	if !bits {
		for _, names := range [...][]FlagName{f.Names, f.Values} {
			for _, n := range names {
				if n.Value == v {
					return append(b, n.Name...)
				}
			}
		}
		return appendHex(b, v)
	}
	start := len(b)
	if f.Mask != 0 {
		for _, n := range f.Values {
			if n.Value == v&f.Mask {
				b = append(b, n.Name...)
				v &^= f.Mask
				break
			}
		}
	}
	for _, n := range f.Names {
		if n.Value != 0 && v&n.Value == n.Value {
			b = appendSeparated(b, start, n.Name)
			v &^= n.Value
		}
	}
	switch {
	case v != 0:
		if len(b) > start {
			b = append(b, '|')
		}
		return appendHex(b, v)
	case len(b) == start:
		return append(b, '0')
	}
	return b
}

// appendSeparated appends s, after a "|" if something was appended since start.
func appendSeparated(b []byte, start int, s string) []byte {
	if len(b) > start {
		b = append(b, '|')
	}
	return append(b, s...)
}
