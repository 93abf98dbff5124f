// Package intern finds objects by who they are, so that there is one object for
// each identity for as long as anybody uses it: the inodes of host files and
// those of an overlay, which come and go by the hundred thousand.
//
// Objects are held weakly. What has become of those that nobody uses any more
// is looked at when the table has grown by half, and not by a finalizer or cleanup
// each, which the garbage collector would have to visit in every cycle.
//
// It must not know what it holds. Its lock is a leaf, but for the function that
// makes an object, which is called with it held.
package intern

import (
	"sync"
	"weak"
)

// minimum is the size below which a table is not swept.
const minimum = 1024

// Table finds a *V by its K. The zero Table is empty. It is safe for concurrent
// use.
type Table[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]weak.Pointer[V]
	// sweepAt is the size at which the table is swept.
	sweepAt int
}

// Get returns the object of k, or has make make it.
func (t *Table[K, V]) Get(k K, make func() *V) *V {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.m[k].Value(); v != nil {
		return v
	}
	v := make()
	t.put(k, v)
	return v
}

// Find returns the object of k if there is one, or nil.
func (t *Table[K, V]) Find(k K) *V {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[k].Value()
}

// Put makes v the object of k (too).
func (t *Table[K, V]) Put(k K, v *V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(k, v)
}

func (t *Table[K, V]) put(k K, v *V) {
	if len(t.m) >= t.sweepAt {
		t.sweep()
	}
	t.m[k] = weak.Make(v)
}

// sweep forgets what is gone. The map is made anew, since one that had many
// entries keeps the room for them.
func (t *Table[K, V]) sweep() {
	m := make(map[K]weak.Pointer[V], len(t.m)/2)
	for k, p := range t.m {
		if p.Value() != nil {
			m[k] = p
		}
	}
	t.m, t.sweepAt = m, max(minimum, len(m)+len(m)/2)
}
