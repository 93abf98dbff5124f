package network

import (
	"runtime"
	"sync/atomic"
	"time"
)

// collecting says that a collection is about to begin.
var collecting atomic.Bool

// Left is called when something that kept the namespace may have been the last: a task, an
// open file or a mount. Pairs go with their namespace, and others look for that; so garbage is
// collected soon if there are any, but at most about once a second.
func (n *Namespace) Left() {
	if !n.paired.Load() || collecting.Swap(true) {
		return
	}
	go func() {
		time.Sleep(time.Second)
		collecting.Store(false)
		runtime.GC()
	}()
}
