package overlayfs

import (
	"runtime"
	"sync"
	"weak"

	"coffer/internal/sentry/vfs"
)

// key says which object a node stands for: the upper inode if there is one,
// else the topmost lower one. A lower file with several links is not one
// object here, because copying it up breaks the links: its names are told
// apart by place.
type key struct {
	inode  vfs.Inode
	parent *node
	name   string
}

// table finds the node of an object, so that there is one for as long as
// anybody uses it. It does not keep nodes alive.
type table struct {
	mu    sync.Mutex
	byKey map[key]weak.Pointer[node]
}

// intern returns the node of k, or has make make it.
func (t *table) intern(k key, make func() *node) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.byKey[k].Value(); n != nil {
		return n
	}
	n := make()
	t.enter(k, n)
	return n
}

// find returns the node of k if there is one.
func (t *table) find(k key) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byKey[k].Value()
}

// rekey makes n the node of k too, after it was copied up.
func (t *table) rekey(k key, n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter(k, n)
}

func (t *table) enter(k key, n *node) {
	if t.byKey == nil {
		t.byKey = map[key]weak.Pointer[node]{}
	}
	t.byKey[k] = weak.Make(n)
	runtime.AddCleanup(n, t.collected, k)
}

// collected forgets a node that is gone, unless there is a new one.
func (t *table) collected(k key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byKey[k].Value() == nil {
		delete(t.byKey, k)
	}
}
