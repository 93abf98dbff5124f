package syscalls

// Param is the kind of one argument: how --trace shows it.
type Param struct {
	Name string
	Kind Kind
	// Flags names the bits or values of a Flags or Enum kind (see flags.go).
	Flags *FlagSet
}

// Kind says how an argument is rendered.
type Kind int

// The kinds. "Out" kinds are rendered after the call, from what it wrote.
const (
	Dec         Kind = iota // signed decimal
	Unsigned                // unsigned decimal
	Hex                     // 0x...
	Ptr                     // address, NULL for 0
	FD                      // descriptor, with its path
	DirFD                   // descriptor or AT_FDCWD
	PathStr                 // NUL-terminated path
	Str                     // NUL-terminated string
	Buf                     // bytes read by the call; the next argument is the length
	OutBuf                  // bytes written by the call; the result is the length
	Mode                    // octal
	Flags                   // bit set named by Flags
	Enum                    // one value named by Flags
	Signal                  // signal number
	SigSet                  // pointer to a 64-bit signal set
	OutSigSet               //
	Timespec                // pointer to struct timespec
	OutTimespec             //
	OutStat                 // pointer to struct stat
	StrVec                  // argv, envp
	Sockaddr                // pointer to a socket address; the next argument is the length
	IOVec                   // pointer to struct iovec; the next argument is the count
	OutFDPair               // int[2] of pipe2 and socketpair
)

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
