package platform

// Resetter is implemented by address spaces that can go on with another
// program, which costs less than a new address space: the caller unmaps all
// that is the guest's, and loads the program there.
type Resetter interface {
	// Reset forgets what the platform knows of the program so far: code that
	// it rewrote, and where it keeps what belongs to that. It reports false if
	// that cannot be done, or several threads are left; then nothing changed.
	Reset() bool
}
