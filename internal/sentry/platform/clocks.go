package platform

// ClockAsker is implemented by address spaces whose vDSO tells what the host's
// clocks show.
type ClockAsker interface {
	// AskForClocks has its clock_gettime ask by a system call instead, from now
	// on, also after a fork. The guest must not be within that function.
	AskForClocks() error
}
