package stub

import "slices"

// HostCall is a host call that stubs can make, for documents.
type HostCall struct {
	Number uint32
	// Arg is the index of the argument that must be one of Values, or -1.
	Arg    int
	Values []uint32
	Reason string
}

// HostCalls are all that the stubs' seccomp filter lets pass.
func HostCalls() []HostCall {
	var out []HostCall
	for _, c := range allowedCalls {
		h := HostCall{Number: c.nr, Arg: -1, Reason: c.reason}
		if c.check != nil {
			h.Arg, h.Values = c.check.arg, slices.Clone(c.check.values)
		}
		out = append(out, h)
	}
	return out
}
