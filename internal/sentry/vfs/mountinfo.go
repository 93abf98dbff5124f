package vfs

import (
	"cmp"
	"slices"
)

// MountInfo describes a mount for /proc/PID/mountinfo.
type MountInfo struct {
	ID, ParentID       int
	DevMajor, DevMinor uint32
	// Root is the path within the file system that is mounted, Point where.
	Root, Point string
	// Flags are the mount's MS_* flags.
	Flags   uint64
	Type    string
	Source  string
	Options string // of the file system, beside "rw" or "ro"

	// PeerGroup and Master number the groups that changes are shared with and
	// come from; 0 for none. From is the nearest group above Master that the
	// reader can see, if that is not Master itself.
	PeerGroup, Master, From int
	Unbindable              bool
}

// OptionShower is implemented by a FileSystem that has options to show in
// /proc/mounts, comma-separated.
type OptionShower interface{ ShowOptions() string }

// Mounts lists the mounts that can be reached from root, lower ones first.
func (ns *MountNamespace) Mounts(root Path) []MountInfo {
	mountMu.RLock()
	var mounts []*Mount
	ns.root.each(func(m *Mount) { mounts = append(mounts, m) })
	slices.SortFunc(mounts, func(a, b *Mount) int { return cmp.Compare(a.id, b.id) })
	out := make([]MountInfo, 0, len(mounts))
	for _, m := range mounts {
		if i, ok := m.info(ns, root); ok && m.tryIncRef() {
			out = append(out, i)
			mounts[len(out)-1] = m
		}
	}
	mountMu.RUnlock()
	for i, m := range mounts[:len(out)] {
		out[i].complete(m)
		m.decRef()
	}
	return out
}

// MountByID describes a mount that can be reached from root, and the type of its
// file system as in statfs(2). ok is false if there is none.
func (ns *MountNamespace) MountByID(root Path, id int) (i MountInfo, magic int64, ok bool) {
	var found *Mount
	mountMu.RLock()
	ns.root.each(func(m *Mount) {
		if m.id == id {
			found = m
		}
	})
	if found != nil {
		i, ok = found.info(ns, root)
		ok = ok && found.tryIncRef()
	}
	mountMu.RUnlock()
	if !ok {
		return i, 0, false
	}
	defer found.decRef()
	i.complete(found)
	if s, err := found.super.fs.StatFS(); err == nil {
		magic = s.Type
	}
	return i, magic, true
}

// info describes m as seen from root. ok is false if it cannot be reached from
// there. mountMu is held.
func (m *Mount) info(ns *MountNamespace, root Path) (i MountInfo, ok bool) {
	i = MountInfo{ID: m.id, ParentID: m.id, Flags: m.Flags(), Type: m.super.fs.Name(), Source: m.source,
		Unbindable: m.unbindable, Root: m.root.nameInSuper(), Point: "/"}
	if n, ok := m.root.inode.(interface {
		Bindable
		LinkNamer
	}); ok {
		i.Root = n.LinkName()
	}
	if m.point.Valid() {
		i.ParentID = m.point.Mount.id
	}
	if m.peers != nil {
		i.PeerGroup = m.peers.id
	}
	if m.master != nil {
		i.Master = m.master.id
		i.From = m.master.dominating(ns)
	}
	at := Path{m, m.root}
	if at == root {
		return i, true
	}
	i.Point, ok = nameUnder(root, at)
	return i, ok && m.ns == ns
}

// dominating is the nearest group, from g upwards, with a member in ns: 0 if
// that is g itself, or none.
func (g *peerGroup) dominating(ns *MountNamespace) int {
	for at := g; at != nil; {
		var above *peerGroup
		for m := range at.members {
			if m.ns == ns {
				if at == g {
					return 0
				}
				return at.id
			}
			above = m.master
		}
		at = above
	}
	return 0
}

// complete adds what the file system has to tell, without mountMu.
func (i *MountInfo) complete(m *Mount) {
	if a, err := m.root.inode.Attr(); err == nil {
		i.DevMajor, i.DevMinor = a.DevMajor, a.DevMinor
	}
	if s, ok := m.super.fs.(OptionShower); ok {
		i.Options = s.ShowOptions()
	}
}
