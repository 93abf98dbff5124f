package vfs

// Path is a place in the mount tree.
type Path struct {
	Mount  *Mount
	Dentry *Dentry
}

// Valid reports whether the path leads anywhere.
func (p Path) Valid() bool { return p.Dentry != nil }
