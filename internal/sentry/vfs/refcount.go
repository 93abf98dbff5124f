package vfs

// RefCount returns how many references there are now. It is a hint for who
// must know whether all references are its own: if they are, it stays true.
func (d *FileDescription) RefCount() int64 { return d.refs.Load() }
