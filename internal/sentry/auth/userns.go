package auth

import (
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// OverflowID is what an ID without a mapping is shown as
	// (/proc/sys/kernel/overflowuid and overflowgid).
	OverflowID = 65534
	// maxUserLevel is how deep user namespaces nest (user_namespaces(7)).
	maxUserLevel = 32
	// MaxUserNamespaces bounds all user namespaces of the sandbox, as
	// /proc/sys/user/max_user_namespaces does for each user on Linux.
	MaxUserNamespaces = 2048
)

// UserNamespace is a user namespace (user_namespaces(7)). All IDs that the
// sentry keeps are those of the initial namespace; a namespace's maps translate
// where a guest names or is shown one.
type UserNamespace struct {
	parent *UserNamespace
	level  int
	// owner is the effective user ID of who made it, group likewise.
	owner, group uint32
	id           uint64
	// madeWithSetfcap says that who made it had CAP_SETFCAP, without which a
	// namespace may not map its parent's ID 0 to itself.
	madeWithSetfcap bool

	maps [numIDKinds]atomic.Pointer[IDMap]
	// mu orders changes of maps and setgroups.
	mu       sync.Mutex
	noGroups bool
}

// IDKind says which IDs a map translates.
type IDKind int

// The kinds of ID that have maps.
const (
	UserID IDKind = iota
	GroupID
	ProjectID
	numIDKinds
)

// Initial is the user namespace that a sandbox starts with. Its IDs are those
// that the sentry keeps.
var Initial = &UserNamespace{id: 4026531837}

func init() {
	for k := range Initial.maps {
		Initial.maps[k].Store(&IDMap{extents: []extent{{0, 0, 0, NoID}}})
	}
}

var userNamespaces atomic.Int64

// NewUserNamespace makes a child of the credentials' namespace, numbered id.
// ENOSPC if they nest too deep or are too many; EPERM if the user or group has
// no mapping. Namespaces are collected as other garbage.
func (c *Credentials) NewUserNamespace(id uint64) (*UserNamespace, error) {
	p := c.UserNS
	if p.level >= maxUserLevel {
		return nil, unix.ENOSPC
	}
	if !p.Maps(UserID, c.EUID) || !p.Maps(GroupID, c.EGID) {
		return nil, unix.EPERM
	}
	if userNamespaces.Add(1) > MaxUserNamespaces {
		userNamespaces.Add(-1)
		return nil, unix.ENOSPC
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ns := &UserNamespace{parent: p, level: p.level + 1, owner: c.EUID, group: c.EGID, id: id,
		madeWithSetfcap: c.Effective.Has(unix.CAP_SETFCAP), noGroups: p.noGroups}
	runtime.AddCleanup(ns, func(struct{}) { userNamespaces.Add(-1) }, struct{}{})
	return ns, nil
}

// Parent is the namespace in which ns was made; nil for the initial one.
func (ns *UserNamespace) Parent() *UserNamespace { return ns.parent }

// ID numbers the namespace: nsfs's inode number.
func (ns *UserNamespace) ID() uint64 { return ns.id }

// Owner is the namespace in which capabilities over ns count: its parent.
func (ns *UserNamespace) Owner() *UserNamespace { return ns.parent }

// Creator is the user who made the namespace.
func (ns *UserNamespace) Creator() uint32 { return ns.owner }

// MadeWithin reports whether ns lies in a namespace that this user made in the
// credentials' own one.
func (c *Credentials) MadeWithin(ns *UserNamespace) bool {
	for ; ns.parent != nil; ns = ns.parent {
		if ns.parent == c.UserNS && ns.owner == c.EUID {
			return true
		}
	}
	return false
}

// EnterNew makes ns, a namespace just made, the credentials' own, with all
// capabilities in it. c is a copy that has not been published.
func (c *Credentials) EnterNew(ns *UserNamespace) {
	c.UserNS = ns
	c.SecureBits, c.KeepCaps = 0, false
	c.Inheritable, c.Ambient = 0, 0
	c.Permitted, c.Effective, c.Bounding = AllCaps, AllCaps, AllCaps
}

// Can reports whether the credentials have a capability over the sandbox as a
// whole, that is in the initial user namespace.
func (c *Credentials) Can(cp int) bool { return c.CanIn(Initial, cp) }

// CanHere reports whether they have it in their own user namespace.
func (c *Credentials) CanHere(cp int) bool { return c.Effective.Has(cp) }

// CanIn reports whether they have it over what belongs to ns
// (user_namespaces(7), "Capabilities").
func (c *Credentials) CanIn(ns *UserNamespace, cp int) bool {
	for ; ; ns = ns.parent {
		switch {
		case ns == c.UserNS:
			return c.Effective.Has(cp)
		case ns.level <= c.UserNS.level:
			return false
		case ns.parent == c.UserNS && ns.owner == c.EUID:
			return true
		}
	}
}

// CanOver reports whether they have a capability in their own namespace over
// an inode with these owners: both must be mapped there.
func (c *Credentials) CanOver(cp int, uid, gid uint32) bool {
	return c.Effective.Has(cp) && (c.UserNS == Initial || c.UserNS.Maps(UserID, uid) && c.UserNS.Maps(GroupID, gid))
}

// CanOverUser is CanOver where the inode's group does not matter.
func (c *Credentials) CanOverUser(cp int, uid uint32) bool {
	return c.Effective.Has(cp) && (c.UserNS == Initial || c.UserNS.Maps(UserID, uid))
}

// Within reports whether ns is anc or one of its descendants.
func (ns *UserNamespace) Within(anc *UserNamespace) bool {
	for ns.level > anc.level {
		ns = ns.parent
	}
	return ns == anc
}

// Maps reports whether an ID of the sentry's has a name in ns.
func (ns *UserNamespace) Maps(kind IDKind, id uint32) bool {
	_, ok := ns.maps[kind].Load().up(id)
	return ok
}

// FromUID returns the name that an ID of the sentry's has in ns, OverflowID if
// it has none; FromGID does so for groups.
func (ns *UserNamespace) FromUID(id uint32) uint32 { return ns.from(UserID, id) }
func (ns *UserNamespace) FromGID(id uint32) uint32 { return ns.from(GroupID, id) }

func (ns *UserNamespace) from(kind IDKind, id uint32) uint32 {
	if ns == Initial {
		return id
	}
	if n, ok := ns.maps[kind].Load().up(id); ok {
		return n
	}
	return OverflowID
}

// ToUID returns the ID that a name in ns stands for; NoID if it stands for
// none, as NoID itself. ToGID does so for groups.
func (ns *UserNamespace) ToUID(id uint32) uint32 { return ns.To(UserID, id) }
func (ns *UserNamespace) ToGID(id uint32) uint32 { return ns.To(GroupID, id) }

// To is ToUID or ToGID, for a kind of ID.
func (ns *UserNamespace) To(kind IDKind, id uint32) uint32 {
	if ns == Initial || id == NoID {
		return id
	}
	if n, ok := ns.maps[kind].Load().down(id); ok {
		return n
	}
	return NoID
}

// MaySetGroups reports whether setgroups(2) is allowed in ns: not before
// groups are mapped, and not if /proc/PID/setgroups says no.
func (ns *UserNamespace) MaySetGroups() bool {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.maps[GroupID].Load() != nil && !ns.noGroups
}

// GroupsDenied is whether /proc/PID/setgroups reads "deny".
func (ns *UserNamespace) GroupsDenied() bool {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.noGroups
}

// DenyGroups and AllowGroups are writes to /proc/PID/setgroups. EPERM once
// groups are mapped, or if it was denied.
func (ns *UserNamespace) DenyGroups() error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.maps[GroupID].Load() != nil {
		return unix.EPERM
	}
	ns.noGroups = true
	return nil
}

func (ns *UserNamespace) AllowGroups() error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.noGroups {
		return unix.EPERM
	}
	return nil
}
