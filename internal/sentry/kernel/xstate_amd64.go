package kernel

// cpuid and xgetbv are the instructions of these names.
func cpuid(leaf, subleaf uint32) (a, b, c, d uint32)
func xgetbv() uint64

// Extended state in a signal frame (Intel SDM vol. 1, chapter 13).
const (
	// xstateAMX are the components that a program must ask for and that no
	// frame has by default.
	xstateAMX = 1<<17 | 1<<18
	// xstateLegacy is the size of the x87 and SSE part with the header.
	xstateLegacy = 512 + 64
)

// xfeatures are the state components that signal frames hold, and xstateSize
// the bytes that they take in XSAVE's standard format.
var xfeatures, xstateSize = xstate()

func xstate() (features uint64, size uint32) {
	_, _, c, _ := cpuid(1, 0)
	if c&(1<<27) == 0 { // OSXSAVE
		return 3, 512
	}
	features = xgetbv() &^ xstateAMX
	size = xstateLegacy
	for i := uint32(2); i < 63; i++ {
		if features>>i&1 != 0 {
			n, offset, _, _ := cpuid(0xd, i)
			size = max(size, offset+n)
		}
	}
	return features, size
}
