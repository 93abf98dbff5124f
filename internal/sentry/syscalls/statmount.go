package syscalls

import (
	"encoding/binary"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func statmountRows() []Row {
	return []Row{
		partial(unix.SYS_STATMOUNT, "statmount", sysStatmount,
			"mounts of the caller's own namespace only; options as a whole, not one by one",
			P("req", MountIDReq), P("buf", OutStatmount), P("size", Unsigned), P("flags", Hex)),
		partial(unix.SYS_LISTMOUNT, "listmount", sysListmount, "mounts of the caller's own namespace only",
			P("req", MountIDReq), P("mnt_ids", OutMountIDs), P("nr", Unsigned), P("flags", Hex)),
	}
}

// mountIDReq is struct mnt_id_req.
type mountIDReq struct {
	Size, Spare             uint32
	MountID, Param, MountNS uint64
}

var mountIDReqLayout = layout{size: mountReqMin, fields: []field{
	{name: "mnt_id", offset: 8, size: 8, kind: Hex}, {name: "param", offset: 16, size: 8, kind: Hex},
}}

const (
	mountReqMin = 24 // MNT_ID_REQ_SIZE_VER0
	// mountRoot stands for the root directory's mount (LSMT_ROOT).
	mountRoot = ^uint64(0)
	// firstUniqueID is where the numbers of mounts begin that are never used
	// again, so that nobody takes them for the others.
	firstUniqueID = 1 << 31
)

// What statmount(2) tells: bits of the request's param and of the answer's mask.
const (
	statSuper         = 0x1
	statMount         = 0x2
	statPropagateFrom = 0x4
	statRoot          = 0x8
	statPoint         = 0x10
	statType          = 0x20
	statNS            = 0x40
	statOptions       = 0x80
)

// statmountSize is sizeof(struct statmount), behind which strings begin.
const statmountSize = 512

var statmountLayout = layout{size: 64, more: true, fields: []field{
	{name: "mask", offset: 8, size: 8, kind: Hex}, {name: "sb_dev_major", offset: 16, size: 4},
	{name: "sb_dev_minor", offset: 20, size: 4}, {name: "mnt_id", offset: 40, size: 8, kind: Hex},
	{name: "mnt_parent_id", offset: 48, size: 8, kind: Hex},
}}

// copyInMountReq reads the request of statmount(2) and listmount(2).
func copyInMountReq(t *kernel.Task, addr uint64) (req mountIDReq, err error) {
	size, err := t.CopyInUint32(addr)
	if err != nil {
		return req, err
	}
	switch {
	case size > mm.PageSize:
		return req, unix.E2BIG
	case size < mountReqMin:
		return req, unix.EINVAL
	}
	if err := copyInExtensible(t, addr, uint64(size), &req); err != nil {
		return req, err
	}
	switch {
	case req.Spare != 0, req.MountID != mountRoot && req.MountID < firstUniqueID:
		return req, unix.EINVAL
	case req.MountNS != 0 && req.MountNS != t.Mounts().ID():
		return req, unix.ENOENT
	}
	return req, nil
}

// visibleMounts are the mounts that the task can reach, lower ones first, and
// the index of the one that id means: -1 if there is none.
func visibleMounts(t *kernel.Task, id uint64) (list []vfs.MountInfo, at int) {
	root := t.FS().Root()
	defer root.DecRef()
	list = t.Mounts().Mounts(root)
	for i := range list {
		if id == mountRoot && list[i].Point == "/" && root.Valid() && list[i].ID == root.Mount.ID() ||
			id != mountRoot && uint64(list[i].ID)+firstUniqueID == id {
			return list, i
		}
	}
	return list, -1
}

func sysStatmount(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[3] != 0 {
		return 0, unix.EINVAL
	}
	req, err := copyInMountReq(t, a[0])
	if err != nil {
		return 0, err
	}
	root := t.FS().Root()
	defer root.DecRef()
	if req.MountID == mountRoot {
		return 0, unix.ENOENT
	}
	i, magic, ok := t.Mounts().MountByID(root, int(req.MountID-firstUniqueID))
	if !ok {
		return 0, unix.ENOENT
	}
	b := appendStatmount(make([]byte, statmountSize), &i, magic, req.Param, t.Mounts().ID())
	size := min(a[2], statmountSize)
	if len(b) > statmountSize {
		// Strings must fit, what is in front of them may be cut.
		if a[2] < uint64(len(b)) {
			return 0, unix.EOVERFLOW
		}
		size = uint64(len(b))
	}
	_, err = t.CopyOut(a[1], b[:size])
	return 0, err
}

// appendStatmount fills in a struct statmount, and appends its strings.
func appendStatmount(b []byte, i *vfs.MountInfo, magic int64, want, ns uint64) []byte {
	le := binary.LittleEndian
	var mask uint64
	text := func(bit uint64, off int, s string) {
		if want&bit == 0 {
			return
		}
		mask |= bit
		le.PutUint32(b[off:], uint32(len(b)-statmountSize))
		b = append(append(b, s...), 0)
	}
	if want&statSuper != 0 {
		mask |= statSuper
		le.PutUint32(b[16:], i.DevMajor)
		le.PutUint32(b[20:], i.DevMinor)
		le.PutUint64(b[24:], uint64(magic))
		le.PutUint32(b[32:], uint32(i.Flags&unix.MS_RDONLY))
	}
	if want&statMount != 0 {
		mask |= statMount
		le.PutUint64(b[40:], uint64(i.ID)+firstUniqueID)
		le.PutUint64(b[48:], uint64(i.ParentID)+firstUniqueID)
		le.PutUint32(b[56:], uint32(i.ID))
		le.PutUint32(b[60:], uint32(i.ParentID))
		le.PutUint64(b[64:], attrsOf(i.Flags))
		le.PutUint64(b[72:], propagationOf(i))
		le.PutUint64(b[80:], uint64(i.PeerGroup))
		le.PutUint64(b[88:], uint64(i.Master))
	}
	if want&statPropagateFrom != 0 {
		mask |= statPropagateFrom
		le.PutUint64(b[96:], uint64(i.From))
	}
	if want&statNS != 0 {
		mask |= statNS
		le.PutUint64(b[112:], ns)
	}
	text(statType, 36, i.Type)
	text(statRoot, 104, i.Root)
	text(statPoint, 108, i.Point)
	text(statOptions, 4, i.Options)
	le.PutUint32(b[0:], uint32(len(b)))
	le.PutUint64(b[8:], mask)
	return b
}

// attrsOf turns MS_* into MOUNT_ATTR_*.
func attrsOf(flags uint64) (attr uint64) {
	for _, f := range mountAttrPairs {
		if flags&f.flag != 0 {
			attr |= f.attr
		}
	}
	switch {
	case flags&unix.MS_NOATIME != 0:
		attr |= unix.MOUNT_ATTR_NOATIME
	case flags&unix.MS_RELATIME == 0:
		attr |= unix.MOUNT_ATTR_STRICTATIME
	}
	return attr
}

// propagationOf is a mount's type as MS_* flags.
func propagationOf(i *vfs.MountInfo) (kind uint64) {
	if i.PeerGroup != 0 {
		kind |= unix.MS_SHARED
	}
	if i.Master != 0 {
		kind |= unix.MS_SLAVE
	}
	if i.Unbindable {
		kind |= unix.MS_UNBINDABLE
	}
	if kind == 0 {
		kind = unix.MS_PRIVATE
	}
	return kind
}

// listmountReverse is LISTMOUNT_REVERSE; maxListed bounds what one call lists.
const (
	listmountReverse = 1
	maxListed        = 1 << 20
)

func sysListmount(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[3]&^listmountReverse != 0 {
		return 0, unix.EINVAL
	}
	if a[2] > maxListed {
		return 0, unix.EOVERFLOW
	}
	req, err := copyInMountReq(t, a[0])
	if err != nil {
		return 0, err
	}
	list, at := visibleMounts(t, req.MountID)
	if at < 0 {
		return 0, unix.ENOENT
	}
	ids := beneath(list, at)
	if req.MountID == mountRoot {
		ids = ids[:0]
		for _, m := range list {
			ids = append(ids, uint64(m.ID)+firstUniqueID)
		}
	}
	n := uint64(0)
	for i := range ids {
		id := ids[i]
		if a[3]&listmountReverse != 0 {
			id = ids[len(ids)-1-i]
		}
		if req.Param != 0 && (a[3]&listmountReverse == 0 && id <= req.Param || a[3]&listmountReverse != 0 && id >= req.Param) {
			continue
		}
		if n == a[2] {
			break
		}
		if err := t.CopyOutUint64(a[1]+8*n, id); err != nil {
			return 0, err
		}
		n++
	}
	return uintptr(n), nil
}

// beneath are the numbers of the mounts on the one with an index, and on those.
func beneath(list []vfs.MountInfo, at int) (ids []uint64) {
	parent := make(map[int]int, len(list))
	for i := range list {
		parent[list[i].ID] = list[i].ParentID
	}
	top := list[at].ID
	for i := range list {
		for id := list[i].ID; id != parent[id]; id = parent[id] {
			p, ok := parent[id]
			if !ok {
				break
			}
			if p == top {
				ids = append(ids, uint64(list[i].ID)+firstUniqueID)
				break
			}
		}
	}
	return ids
}
