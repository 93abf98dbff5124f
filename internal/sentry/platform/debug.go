package platform

// Debuggable is implemented by contexts that a debugger can look into, between
// two calls of Switch, by the same goroutine.
type Debuggable interface {
	// BeginDebug has the guest's code stand in memory as the guest wrote it,
	// until another program is loaded, so that breakpoints can be set
	// anywhere. It costs nothing if that is so already.
	BeginDebug()
	// ReadFP returns the extended state as an XSAVE area in standard format,
	// with the features that there are in the bytes that the host's
	// PTRACE_GETREGSET fills in. EFAULT if the stub is gone.
	ReadFP() ([]byte, error)
	// WriteFP loads the state from such an area: EFAULT if it is shorter than
	// ReadFP's, EINVAL if no state is like that.
	WriteFP(area []byte) error
	// WriteLegacyFP loads the x87 and SSE state from an FXSAVE area of 512
	// bytes, and leaves the rest alone. Errors are as WriteFP's.
	WriteLegacyFP(area []byte) error
}
