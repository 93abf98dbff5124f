package socket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	// MaxRights is SCM_MAX_FD: descriptors in one message.
	MaxRights = 253
	// MaxControl is the longest control buffer that a send may have
	// (/proc/sys/net/core/optmem_max).
	MaxControl = 131072

	headerSize = 16 // struct cmsghdr
)

// ControlMessage is one struct cmsghdr with its data, as cmsg(3) lays them out.
type ControlMessage struct {
	Level, Type int32
	Data        []byte
}

// ParseControl takes a control buffer apart; the results point into raw.
// EINVAL if a length leads out of the buffer.
func ParseControl(raw []byte) ([]ControlMessage, error) {
	var out []ControlMessage
	for len(raw) >= headerSize {
		n := binary.LittleEndian.Uint64(raw)
		if n < headerSize || n > uint64(len(raw)) {
			return nil, unix.EINVAL
		}
		out = append(out, ControlMessage{
			Level: int32(binary.LittleEndian.Uint32(raw[8:])),
			Type:  int32(binary.LittleEndian.Uint32(raw[12:])),
			Data:  raw[headerSize:n],
		})
		raw = raw[min(align(n), uint64(len(raw))):]
	}
	return out, nil
}

func align(n uint64) uint64 { return (n + 7) &^ 7 }

// Rights reads the descriptor numbers of an SCM_RIGHTS message. EINVAL if it
// does not hold whole numbers or too many.
func (m ControlMessage) Rights() ([]int32, error) {
	if len(m.Data)%4 != 0 || len(m.Data)/4 > MaxRights {
		return nil, unix.EINVAL
	}
	fds := make([]int32, len(m.Data)/4)
	for i := range fds {
		fds[i] = int32(binary.LittleEndian.Uint32(m.Data[4*i:]))
	}
	return fds, nil
}

// Credentials reads an SCM_CREDENTIALS message. EINVAL for a wrong length.
func (m ControlMessage) Credentials() (Ucred, error) {
	if len(m.Data) != 12 {
		return Ucred{}, unix.EINVAL
	}
	return Ucred{
		PID: int32(binary.LittleEndian.Uint32(m.Data)),
		UID: binary.LittleEndian.Uint32(m.Data[4:]),
		GID: binary.LittleEndian.Uint32(m.Data[8:]),
	}, nil
}

// Bytes lays the credentials out as struct ucred.
func (u Ucred) Bytes() []byte {
	b := make([]byte, 0, 12)
	b = binary.LittleEndian.AppendUint32(b, uint32(u.PID))
	b = binary.LittleEndian.AppendUint32(b, u.UID)
	return binary.LittleEndian.AppendUint32(b, u.GID)
}

// ControlBuilder fills a control buffer of a receiver.
type ControlBuilder struct {
	// Buf is what has been laid out so far.
	Buf []byte
	// Room is the size of the guest's buffer.
	Room int
	// Truncated says that something did not fit (MSG_CTRUNC).
	Truncated bool
}

// Space returns how many bytes of data another message could hold.
func (b *ControlBuilder) Space() int { return max(b.Room-len(b.Buf)-headerSize, 0) }

// Add appends a message, cut to the room that there is.
func (b *ControlBuilder) Add(level, typ int32, data []byte) {
	room := b.Room - len(b.Buf)
	if room < headerSize {
		b.Truncated = true
		return
	}
	if len(data) > room-headerSize {
		data, b.Truncated = data[:room-headerSize], true
	}
	n := headerSize + len(data)
	b.Buf = binary.LittleEndian.AppendUint64(b.Buf, uint64(n))
	b.Buf = binary.LittleEndian.AppendUint32(b.Buf, uint32(level))
	b.Buf = binary.LittleEndian.AppendUint32(b.Buf, uint32(typ))
	b.Buf = append(b.Buf, data...)
	for pad := min(int(align(uint64(n))), room) - n; pad > 0; pad-- {
		b.Buf = append(b.Buf, 0)
	}
}
