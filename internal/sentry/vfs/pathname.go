package vfs

import "slices"

// PathName is the absolute name of p as seen from root. ok is false if p
// cannot be reached from root ("(unreachable)" in getcwd(2)); a removed
// file's name ends in " (deleted)".
func (ns *MountNamespace) PathName(root, p Path) (name string, ok bool) {
	if !p.Valid() {
		return "", false
	}
	if n, ok := p.Inode().(LinkNamer); ok && p.Mount.nameless {
		return n.LinkName(), true
	}
	deleted := p.Dentry.dead.Load() && p.Dentry != p.Mount.root
	mountMu.RLock()
	name, ok = nameUnder(root, p)
	mountMu.RUnlock()
	if deleted {
		name += " (deleted)"
	}
	return name, ok
}

// nameUnder is the name of p as seen from root. mountMu is held.
func nameUnder(root, p Path) (name string, ok bool) {
	// The name is built from its end.
	buf, ok := appendUp(make([]byte, 0, 128), root, p)
	if len(buf) == 0 {
		buf = append(buf, '/')
	}
	slices.Reverse(buf)
	return string(buf), ok
}

// appendUp appends the name of p, spelled backwards, up to root; reached is
// false if the walk up ended elsewhere. mountMu is held.
func appendUp(buf []byte, root, p Path) (_ []byte, reached bool) {
	for {
		s := p.Mount.super
		s.mu.RLock()
		for d := p.Dentry; ; d = d.parent {
			p.Dentry = d
			if p == root || d == p.Mount.root || d.parent == nil {
				break
			}
			for i := len(d.name) - 1; i >= 0; i-- {
				buf = append(buf, d.name[i])
			}
			buf = append(buf, '/')
		}
		s.mu.RUnlock()
		if p == root {
			return buf, true
		}
		if p.Dentry != p.Mount.root || !p.Mount.point.Valid() {
			return buf, false
		}
		p = p.Mount.point
	}
}

// nameInSuper is the dentry's name from the root of its file system.
func (d *Dentry) nameInSuper() string {
	d.super.mu.RLock()
	defer d.super.mu.RUnlock()
	name := ""
	for ; d.parent != nil; d = d.parent {
		name = "/" + d.name + name
	}
	if name == "" {
		return "/"
	}
	return name
}
