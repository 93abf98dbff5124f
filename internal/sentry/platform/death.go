package platform

// Mortal is implemented by address spaces that tell when the host has ended
// their stub, for instance because memory ran out: a task that waits in the
// sentry would learn it only from its next Switch. f is called once, on a
// goroutine of its own, at once if the stub has ended already; it may be called
// too when the last user is about to let go. The next SetDeath or Reset
// replaces it.
type Mortal interface {
	SetDeath(f func())
}
