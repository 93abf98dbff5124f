package mm

// Fork leaves both address spaces with one tree of mappings, which neither changes: who
// wants to, takes a copy first, or has the tree for itself if the other has gone meanwhile.
// So a child that ends or executes a program costs no copy, however much is mapped.

// lock takes mu for a change of the mappings. What is found in the tree before it may
// not be used after it.
func (m *MemoryManager) lock() {
	m.mu.Lock()
	m.own()
}

// own makes the tree this address space's alone. mu is held.
func (m *MemoryManager) own() {
	if m.heirs == nil {
		return
	}
	if m.heirs.Load() > 1 {
		shared := m.vmas.root
		copied := copyTree(shared, m.vmas.n)
		m.tree.Lock()
		m.vmas.root = copied
		m.tree.Unlock()
		m.leave(shared)
	}
	m.heirs = nil
}

// leave gives up a tree that this address space does not look into any more. The last
// one's references go with it. mu is held.
func (m *MemoryManager) leave(tree *vma) {
	heirs := m.heirs
	m.heirs = nil
	if heirs != nil && heirs.Add(-1) > 0 {
		return
	}
	ascend(tree, 0, ^uint64(0), func(v *vma) bool {
		m.unref(v)
		return true
	})
}

// alter takes tree for a change of what is in it, for which mu was taken by lock.
func (m *MemoryManager) alter() {
	if m.heirs != nil {
		panic("mm: another address space's mappings would change")
	}
	m.tree.Lock()
}

// copyTree copies a tree of n mappings, with references of its own. Locks are not copied:
// they are not inherited.
func copyTree(root *vma, n int) *vma {
	c := treeCopy{left: n}
	return c.of(root)
}

// treeCopy copies a tree. Mappings are copied by the thousands, so their memory is had
// in pieces, each of which stays while one in it does.
type treeCopy struct {
	left  int // to be copied yet
	piece []vma
}

// copyPiece is how many mappings have their memory together.
const copyPiece = 64

// of copies a subtree node by node.
func (c *treeCopy) of(t *vma) *vma {
	if t == nil {
		return nil
	}
	if len(c.piece) == 0 {
		c.piece = make([]vma, min(c.left, copyPiece))
		c.left -= len(c.piece)
	}
	v := &c.piece[0]
	c.piece = c.piece[1:]
	*v = *t
	v.ref()
	v.flags &^= flagLocked | flagLockFault
	v.left, v.right = c.of(t.left), c.of(t.right)
	return v
}
