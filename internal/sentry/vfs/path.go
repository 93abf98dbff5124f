package vfs

// Path is a place in the mount tree. A Path is counted: what returns one
// hands over a reference, which DecRef gives up.
type Path struct {
	Mount  *Mount
	Dentry *Dentry
}

// Valid reports whether the path leads anywhere.
func (p Path) Valid() bool { return p.Dentry != nil }

// Attr returns the attributes of the object at the path.
func (p Path) Attr() (Attr, error) { return p.Dentry.inode.Attr() }

// Inode is the object at the path.
func (p Path) Inode() Inode { return p.Dentry.inode }

// IsDir reports whether the path leads to a directory.
func (p Path) IsDir() bool { return p.Dentry.isDir() }

// Kind is the file type (unix.S_IFMT) of the object at the path.
func (p Path) Kind() uint32 { return p.Dentry.kind }

// IncRef takes a reference.
func (p Path) IncRef() {
	if p.Dentry == nil {
		return
	}
	p.Mount.incRef()
	p.Dentry.IncRef()
}

// DecRef drops a reference.
func (p Path) DecRef() {
	if p.Dentry == nil {
		return
	}
	p.Dentry.DecRef()
	p.Mount.decRef()
}

// Deleted reports whether the name has been removed.
func (p Path) Deleted() bool { return p.Dentry.dead.Load() }

// Permitted checks an inode against mask (unix.R_OK, W_OK, X_OK) by mode bits
// and capabilities. EACCES if it is refused.
func Permitted(c Caller, ino Inode, mask uint32) error {
	return permitted(c, ino, mask)
}
