package unixsock

import (
	"bytes"
	"encoding/binary"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// sizeofAddr is sizeof(struct sockaddr_un).
const sizeofAddr = 110

// parseAddr takes the name out of a struct sockaddr_un: a path without its
// NUL, or an abstract name with the NUL before it. EINVAL for a wrong length
// or family.
func parseAddr(addr []byte) ([]byte, error) {
	if len(addr) <= 2 || len(addr) > sizeofAddr || family(addr) != unix.AF_UNIX {
		return nil, unix.EINVAL
	}
	name := addr[2:]
	if name[0] == 0 {
		return bytes.Clone(name), nil
	}
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return bytes.Clone(name), nil
}

func family(addr []byte) uint16 {
	if len(addr) < 2 {
		return 0
	}
	return binary.LittleEndian.Uint16(addr)
}

// formatAddr lays a name out as struct sockaddr_un; without one only the
// family is there.
func formatAddr(name []byte) []byte {
	out := make([]byte, 2, 3+len(name))
	binary.LittleEndian.PutUint16(out, unix.AF_UNIX)
	out = append(out, name...)
	if len(name) > 0 && name[0] != 0 {
		out = append(out, 0)
	}
	return out
}

// Bind implements socket.Socket. EINVAL if the socket has a name, EADDRINUSE
// if the name is taken.
func (s *Socket) Bind(c socket.Caller, addr []byte) error {
	if len(addr) == 2 && family(addr) == unix.AF_UNIX {
		s.ns.mu.Lock()
		defer s.ns.mu.Unlock()
		if s.bound() {
			return unix.EINVAL
		}
		return s.ns.autobind(s)
	}
	name, err := parseAddr(addr)
	if err != nil {
		return err
	}
	if name[0] == 0 {
		s.ns.mu.Lock()
		defer s.ns.mu.Unlock()
		if s.bound() {
			return unix.EINVAL
		}
		if s.ns.abstract[string(name)] != nil {
			return unix.EADDRINUSE
		}
		s.ns.abstract[string(name)] = s
		s.setName(name, vfs.Path{})
		return nil
	}
	path, err := s.makeNode(c, string(name))
	if err != nil {
		return err
	}
	s.ns.mu.Lock()
	defer s.ns.mu.Unlock()
	if s.bound() {
		defer s.removeNode(c, string(name), path)
		return unix.EINVAL
	}
	s.ns.files[vfs.Identity(path.Inode())] = s
	s.setName(name, path)
	return nil
}

// makeNode makes the inode that stands for the socket in the file system.
func (s *Socket) makeNode(c socket.Caller, name string) (vfs.Path, error) {
	o := c.PathOrigin()
	defer o.Root.DecRef()
	defer o.Start.DecRef()
	a, _ := s.ino.Attr()
	err := c.Mounts().MknodAt(c, o, name, unix.S_IFSOCK|a.Mode&0777&^c.Umask(), 0, 0)
	if err == unix.EEXIST {
		err = unix.EADDRINUSE
	}
	if err != nil {
		return vfs.Path{}, err
	}
	return c.Mounts().Resolve(c, o, name, vfs.NoFollowLast)
}

// removeNode undoes makeNode for a socket that had a name already.
func (s *Socket) removeNode(c socket.Caller, name string, path vfs.Path) {
	defer path.DecRef()
	o := c.PathOrigin()
	defer o.Root.DecRef()
	defer o.Start.DecRef()
	c.Mounts().UnlinkAt(c, o, name)
}

func (s *Socket) bound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name != nil
}

func (s *Socket) setName(name []byte, path vfs.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.path = name, path
}

// find returns the socket of type typ that an address names. ECONNREFUSED if
// no socket has the name, EPROTOTYPE if it is of another type, and what the
// path walk says.
func (ns *Namespace) find(c socket.Caller, addr []byte, typ int) (*Socket, error) {
	name, err := parseAddr(addr)
	if err != nil {
		return nil, err
	}
	var found *Socket
	if name[0] == 0 {
		ns.mu.Lock()
		found = ns.abstract[string(name)]
		ns.mu.Unlock()
	} else {
		o := c.PathOrigin()
		path, err := c.Mounts().Resolve(c, o, string(name), 0)
		o.Root.DecRef()
		o.Start.DecRef()
		if err != nil {
			return nil, err
		}
		defer path.DecRef()
		if err := vfs.Access(c, path, unix.W_OK); err != nil {
			return nil, err
		}
		ns.mu.Lock()
		found = ns.files[vfs.Identity(path.Inode())]
		ns.mu.Unlock()
	}
	switch {
	case found == nil:
		return nil, unix.ECONNREFUSED
	case found.typ != typ:
		return nil, unix.EPROTOTYPE
	}
	return found, nil
}

// Name implements socket.Socket.
func (s *Socket) Name() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return formatAddr(s.name)
}

// PeerName implements socket.Socket. ENOTCONN without a peer.
func (s *Socket) PeerName() ([]byte, error) {
	p := s.peer.Load()
	if p == nil {
		return nil, unix.ENOTCONN
	}
	return p.Name(), nil
}
