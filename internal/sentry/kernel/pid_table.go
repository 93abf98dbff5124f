package kernel

// A pidTable finds what goes by a number, and what goes by the next one: so that
// listing processes by number, a piece at a time, costs no more for each when
// there are many. It is a tree of three levels, whose branches are there only
// for numbers that are in use. Kernel.mu guards it.
type pidTable struct {
	count    int
	branches [PIDMax >> (branchBits + leafBits)]*pidBranch
}

// leafBits of a number say where it is in its leaf, branchBits above these in
// which leaf of its branch.
const (
	leafBits   = 7
	branchBits = 7
)

type pidBranch struct {
	used   int
	leaves [1 << branchBits]*pidLeaf
}

type pidLeaf struct {
	used int
	pids [1 << leafBits]*pid
}

// place is where a number, which is less than PIDMax, is in each level.
func place(n int32) (branch, leaf, at int32) {
	return n >> (branchBits + leafBits), n >> leafBits & (1<<branchBits - 1), n & (1<<leafBits - 1)
}

// get returns what goes by n, or nil. n may be any number.
func (t *pidTable) get(n int32) *pid {
	if n < 0 || n >= PIDMax {
		return nil
	}
	i, j, k := place(n)
	if b := t.branches[i]; b != nil {
		if l := b.leaves[j]; l != nil {
			return l.pids[k]
		}
	}
	return nil
}

// add has p go by n, which is free.
func (t *pidTable) add(n int32, p *pid) {
	i, j, k := place(n)
	b := t.branches[i]
	if b == nil {
		b = new(pidBranch)
		t.branches[i] = b
	}
	l := b.leaves[j]
	if l == nil {
		l = new(pidLeaf)
		b.leaves[j] = l
		b.used++
	}
	l.pids[k] = p
	l.used++
	t.count++
}

// remove frees n, which is in use.
func (t *pidTable) remove(n int32) {
	i, j, k := place(n)
	b := t.branches[i]
	l := b.leaves[j]
	l.pids[k] = nil
	t.count--
	if l.used--; l.used > 0 {
		return
	}
	b.leaves[j] = nil
	if b.used--; b.used == 0 {
		t.branches[i] = nil
	}
}

// after calls visit with what goes by each number above n, which is not
// negative, in order, until it returns false.
func (t *pidTable) after(n int32, visit func(*pid) bool) {
	if n >= PIDMax-1 {
		return
	}
	i, j, k := place(n + 1)
	for ; int(i) < len(t.branches); i, j, k = i+1, 0, 0 {
		b := t.branches[i]
		if b == nil {
			continue
		}
		for ; int(j) < len(b.leaves); j, k = j+1, 0 {
			l := b.leaves[j]
			if l == nil {
				continue
			}
			for _, p := range l.pids[k:] {
				if p != nil && !visit(p) {
					return
				}
			}
		}
	}
}
