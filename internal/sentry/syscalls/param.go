package syscalls

import (
	"strconv"

	"coffer/internal/sentry/kernel"
)

// Param is the kind of one argument: how --trace shows it.
type Param struct {
	Name string
	Kind Kind
	// Flags names the bits or values of a Flags or Enum kind.
	Flags *FlagSet
	// Count says where the length of an array or buffer is: so many arguments
	// further on, of which 0 stands for 1, the next.
	Count int
	// Depends, if not nil, says what the argument is in a call with these
	// arguments; Kind and Flags are not used then.
	Depends func(kernel.Args) Param
	// Value is set if what Depends returns is never an address.
	Value bool
}

// Kind says how an argument is rendered.
type Kind int

// The kinds. Their order says when they are rendered: see isPointer, isInOut
// and isOut. An array's length is where Param.Count says.
const (
	// Values.
	Dec      Kind = iota // signed decimal
	Unsigned             // unsigned decimal
	Hex                  // 0x...
	None                 // not an argument of this call: shown as nothing
	FD                   // descriptor, with its path
	DirFD                // descriptor or AT_FDCWD
	Mode                 // octal
	Flags                // bit set named by Param.Flags
	Enum                 // one value named by Param.Flags
	Signal               // signal number
	Clock                // clock ID
	Dev                  // device number

	// Pointers to what the call reads, rendered before it.
	Addr         // the address itself is what counts, or what is there is never looked at
	PathStr      // NUL-terminated path
	Str          // NUL-terminated string
	StrVec       // argv, envp
	Buf          // bytes
	IOVec        // array of struct iovec, with the bytes
	RangeVec     // array of struct iovec, without the bytes
	Msghdr       // struct msghdr
	Mmsghdrs     // array of struct mmsghdr
	Sockaddr     // socket address; its length is the count
	Option       // socket option's value; its length is the count
	Int          // int
	SigSet       // 64-bit signal set
	SigSetArg    // pselect6(2)'s: address and size of a signal set
	Siginfo      // siginfo_t
	Sigaction    // struct kernel_sigaction
	SigStack     // stack_t
	Sigevent     // struct sigevent
	Timespec     // struct timespec
	Timespecs    // struct timespec[2] of utimensat(2)
	Timeval      // struct timeval
	Timevals     // struct timeval[2] of utimes(2)
	Utimbuf      // struct utimbuf
	Timezone     // struct timezone
	Itimerspec   // struct itimerspec
	Itimerval    // struct itimerval
	RLimit       // struct rlimit
	CloneArgs    // struct clone_args; its size is the count
	OpenHow      // struct open_how
	MountAttr    // struct mount_attr
	MountIDReq   // struct mnt_id_req
	EpollEvent   // struct epoll_event
	Flock        // struct flock
	IDs          // array of user or group IDs
	CapHeader    // struct __user_cap_header_struct
	CapData      // struct __user_cap_data_struct[2]; the header is the argument before
	SchedAttr    // struct sched_attr
	CPUSet       // CPU mask; the count is in bytes
	NodeSet      // mask of memory nodes; the count is in bits, and one more
	RobustList   // struct robust_list_head
	Rseq         // struct rseq
	FutexWaiters // array of struct futex_waitv
	FutexPair    // two struct futex_waitv
	SemOps       // array of struct sembuf
	SemValues    // semctl(2)'s unsigned short for each semaphore of the set
	SemDS        // struct semid_ds
	MsgDS        // struct msqid_ds
	ShmDS        // struct shmid_ds
	MsgBuf       // struct msgbuf; the count is without its type
	MqAttr       // struct mq_attr
	Winsize      // struct winsize
	Termios      // struct termios as the kernel has it
	SockFprog    // struct sock_fprog, a BPF program
	XattrArgs    // struct xattr_args
	CacheRange   // struct cachestat_range
	FileHandle   // the beginning of struct file_handle
	LsmCtx       // the beginning of struct lsm_ctx
	Addrs        // array of addresses
	Ints         // array of int

	// Pointers to what the call reads and changes, rendered before it and, if
	// it was changed, after it.
	InOutInt   // int
	InOutOff   // loff_t
	InOutFDSet // fd_set; the count is in bits
	InOutTimex // struct timex
	InOutFlock // struct flock

	// Pointers to what the call writes, rendered after it.
	OutBuf         // bytes; the result is the length
	OutStr         // NUL-terminated string
	OutIOVec       // array of struct iovec; the result says how many bytes are new
	OutMsghdr      // struct msghdr; the result says how many bytes are new
	OutMmsghdrs    // array of struct mmsghdr; the result says how many
	OutSockaddr    // socket address; the count points to its length
	OutOption      // socket option's value; the count points to its length
	OutInt         // int
	OutLong        // 64-bit number
	OutAddr        // 64-bit address
	OutTID         // clone(2)'s thread ID or PID file descriptor, if its flags ask for one
	OutFDPair      // int[2] of pipe2(2) and socketpair(2)
	OutSigSet      // 64-bit signal set
	OutSiginfo     // siginfo_t
	OutSigaction   // struct kernel_sigaction
	OutSigStack    // stack_t
	OutTimespec    // struct timespec
	OutTimeval     // struct timeval
	OutTimezone    // struct timezone
	OutItimerspec  // struct itimerspec
	OutItimerval   // struct itimerval
	OutRLimit      // struct rlimit
	OutStat        // struct stat
	OutStatx       // struct statx
	OutStatfs      // struct statfs
	OutUtsname     // struct utsname
	OutSysinfo     // struct sysinfo
	OutTms         // struct tms
	OutRusage      // struct rusage
	OutWaitRusage  // the same, written if the result is not 0
	OutWaitStatus  // wait status, written if the result is not 0
	OutEpollEvents // array of struct epoll_event; the result is the count
	PollFDs        // array of struct pollfd; also shown if the call failed
	OutStatmount   // the beginning of struct statmount
	OutMountIDs    // array of mount IDs; the result is the count
	OutDirents     // array of struct linux_dirent; the result is the length
	OutDirents64   // array of struct linux_dirent64; the result is the length
	OutIDs         // array of user or group IDs; the result is the count
	OutCapData     // struct __user_cap_data_struct[2]; the header is the argument before
	OutSchedAttr   // struct sched_attr
	OutCPUSet      // CPU mask; the result is its length
	OutNodeSet     // mask of memory nodes; the count is in bits, and one more
	OutPages       // mincore(2)'s byte for each page; the count is the memory's length
	OutSemValues   // semctl(2)'s unsigned short for each semaphore of the set
	OutSemDS       // struct semid_ds
	OutMsgDS       // struct msqid_ds
	OutShmDS       // struct shmid_ds
	OutMsgBuf      // struct msgbuf; the result is the length without its type
	OutMqAttr      // struct mq_attr
	OutWinsize     // struct winsize
	OutTermios     // struct termios as the kernel has it
	OutNotifSizes  // struct seccomp_notif_sizes
	OutCachestat   // struct cachestat
	OutUstat       // struct ustat
	OutInts        // array of int
	numKinds
)

const (
	firstPointer = Addr
	firstInOut   = InOutInt
	firstOut     = OutBuf
)

// isPointer reports whether the kind is an address.
func (k Kind) isPointer() bool { return k >= firstPointer }

// isInOut reports whether the kind is rendered both before and after the call.
func (k Kind) isInOut() bool { return k >= firstInOut && k < firstOut }

// isOut reports whether the kind is rendered after the call only.
func (k Kind) isOut() bool { return k >= firstOut }

// P makes a parameter.
func P(name string, kind Kind) Param { return Param{Name: name, Kind: kind} }

// PF makes a parameter whose bits or values have names.
func PF(name string, kind Kind, f *FlagSet) Param { return Param{Name: name, Kind: kind, Flags: f} }

// PD makes a parameter that other arguments explain. What depends returns
// needs no name.
func PD(name string, depends func(kernel.Args) Param) Param {
	return Param{Name: name, Depends: depends}
}

// value says that a parameter is never an address, whatever the other arguments are.
func (p Param) value() Param {
	p.Value = true
	return p
}

// counts says where the parameter's length is.
func (p Param) counts(distance int) Param {
	p.Count = distance
	return p
}

// resolve returns what p is in a call with the arguments a.
func (p Param) resolve(a kernel.Args) Param {
	if p.Depends == nil {
		return p
	}
	r := p.Depends(a)
	r.Name = p.Name
	return r
}

// FlagSet names bits (for Flags) or values (for Enum). Names are in order;
// for bit sets a name may stand for several bits.
type FlagSet struct {
	Names []FlagName
	// Mask, if not zero, are bits that hold one of Values rather than bits
	// (O_ACCMODE in open flags).
	Mask   uint64
	Values []FlagName
	// Octal is set if the bits without a name are permissions.
	Octal bool
}

// FlagName is a value and its name.
type FlagName struct {
	Value uint64
	Name  string
}

// append renders v as names joined by "|", and what has no name in hex or octal. An
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
		if f.Octal {
			return strconv.AppendUint(append(b, '0'), v, 8)
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
