package platform

import "time"

// CPUTeller is implemented by address spaces that know how much processor time
// they took.
type CPUTeller interface {
	// CPUTime is what all threads took so far, by themselves and in the host's
	// kernel. ok is false once the address space has ended.
	CPUTime() (spent time.Duration, ok bool)
}
