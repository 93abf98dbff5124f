package netlink

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// Ports has the port IDs of one network namespace, for each protocol. The zero value is empty and
// ready.
type Ports struct {
	mu    sync.Mutex
	bound map[port]*Socket
	last  int32 // the last number that was made up
	// members are the sockets that are in a group of NETLINK_USERSOCK.
	members map[*Socket]struct{}
}

type port struct {
	protocol int32
	id       uint32
}

// take gives s a port ID. EADDRINUSE if another has it.
func (p *Ports) take(s *Socket, id uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLocked(s, id)
}

func (p *Ports) takeLocked(s *Socket, id uint32) error {
	if p.bound == nil {
		p.bound = map[port]*Socket{}
	}
	k := port{s.protocol, id}
	if p.bound[k] != nil {
		return unix.EADDRINUSE
	}
	p.bound[k] = s
	s.port.Store(id)
	return nil
}

// takeAny gives s its process's number as port ID if nobody has it, and otherwise one of
// those that are negative as an int32, as Linux does.
func (p *Ports) takeAny(s *Socket, pid int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.port.Load() != 0 || pid > 0 && p.takeLocked(s, uint32(pid)) == nil {
		return
	}
	for {
		if p.last--; p.last > -4096 {
			p.last = -4097
		}
		if p.takeLocked(s, uint32(p.last)) == nil {
			return
		}
	}
}

// drop gives s's port ID back.
func (p *Ports) drop(s *Socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.bound, port{s.protocol, s.port.Load()})
	delete(p.members, s)
}

func (p *Ports) at(protocol int32, id uint32) *Socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bound[port{protocol, id}]
}

// join notes whether a socket of NETLINK_USERSOCK is in any group.
func (p *Ports) join(s *Socket, in bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !in {
		delete(p.members, s)
		return
	}
	if p.members == nil {
		p.members = map[*Socket]struct{}{}
	}
	p.members[s] = struct{}{}
}

// inGroup returns the sockets of a group, but not one.
func (p *Ports) inGroup(group int, but *Socket) []*Socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*Socket
	for s := range p.members {
		if s != but && s.groups.Load()&(1<<(group-1)) != 0 {
			out = append(out, s)
		}
	}
	return out
}

// address is struct sockaddr_nl.
type address struct {
	portID, groups uint32
}

const addressSize = unix.SizeofSockaddrNetlink

func (a address) bytes() []byte {
	b := binary.LittleEndian.AppendUint32(nil, unix.AF_NETLINK)
	b = binary.LittleEndian.AppendUint32(b, a.portID)
	return binary.LittleEndian.AppendUint32(b, a.groups)
}

// parseAddress reads a struct sockaddr_nl. EINVAL for what is none.
func parseAddress(b []byte) (address, error) {
	if len(b) < addressSize || binary.LittleEndian.Uint16(b) != unix.AF_NETLINK {
		return address{}, unix.EINVAL
	}
	return address{binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])}, nil
}
