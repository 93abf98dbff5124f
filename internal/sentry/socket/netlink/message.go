package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	headerSize = unix.NLMSG_HDRLEN
	attrSize   = unix.SizeofRtAttr
)

// header is struct nlmsghdr.
type header struct {
	length uint32
	typ    uint16
	flags  uint16
	seq    uint32
	portID uint32
}

// request is one message that came from a program.
type request struct {
	header
	// raw is the whole message, body what follows its header.
	raw, body []byte
	// addressed says that it was sent to an address that was given with it.
	addressed bool
}

// nextMessage takes the first message off b. ok is false if b does not begin with a whole one,
// which ends what a program sent, without an error.
func nextMessage(b []byte) (r request, rest []byte, ok bool) {
	if len(b) < headerSize {
		return r, nil, false
	}
	le := binary.LittleEndian
	r.header = header{le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), le.Uint32(b[8:]), le.Uint32(b[12:])}
	if r.length < headerSize || uint64(r.length) > uint64(len(b)) {
		return r, nil, false
	}
	r.raw = b[:r.length]
	r.body = b[headerSize:r.length]
	return r, b[min(align(int(r.length)), len(b)):], true
}

func align(n int) int { return (n + 3) &^ 3 }

// maxAttr bounds the types of attributes that are looked at: no structure here has as many.
const maxAttr = 64

// attrs are the attributes of a message by type, each without its header; nil is for one that is not
// there. Of several of a type the last counts.
type attrs [maxAttr][]byte

// parseAttrs takes attributes apart. As in Linux, what does not look like one ends the list, unless
// strict is set: then it is an error (NETLINK_GET_STRICT_CHK).
func parseAttrs(b []byte, strict bool) (*attrs, error) {
	a := new(attrs)
	for len(b) >= attrSize {
		n, typ := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)
		if n < attrSize || n > len(b) {
			break
		}
		if int(typ) < len(a) {
			a[typ] = b[attrSize:n:n]
		}
		b = b[min(align(n), len(b)):]
	}
	if strict && len(b) > 0 {
		return nil, refuse(unix.EINVAL, "bytes leftover after parsing attributes")
	}
	return a, nil
}

// has reports whether there is an attribute.
func (a *attrs) has(typ int) bool { return a[typ] != nil }

// u8, u32 and i32 read a number: ok is false if there is none. ERANGE for one that is too short.
func (a *attrs) u8(typ int) (v uint8, ok bool, err error) {
	b := a[typ]
	switch {
	case b == nil:
		return 0, false, nil
	case len(b) < 1:
		return 0, false, errLength
	}
	return b[0], true, nil
}

func (a *attrs) u32(typ int) (v uint32, ok bool, err error) {
	b := a[typ]
	switch {
	case b == nil:
		return 0, false, nil
	case len(b) < 4:
		return 0, false, errLength
	}
	return binary.LittleEndian.Uint32(b), true, nil
}

// text reads a string that ends at a zero byte, or at the attribute's end. It is shorter than limit.
func (a *attrs) text(typ, limit int) (s string, ok bool, err error) {
	b := a[typ]
	if b == nil {
		return "", false, nil
	}
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	if len(b) >= limit {
		return "", false, errLength
	}
	return string(b), true, nil
}

var errLength = refuse(unix.ERANGE, "Attribute failed policy validation")

// builder lays messages out, one after the other. Lengths are filled in by end.
type builder struct {
	b     []byte
	start int // of the message being made
}

// begin begins a message.
func (w *builder) begin(typ, flags uint16, seq, portID uint32) {
	w.start = len(w.b)
	w.b = binary.LittleEndian.AppendUint32(w.b, 0)
	w.b = binary.LittleEndian.AppendUint16(w.b, typ)
	w.b = binary.LittleEndian.AppendUint16(w.b, flags)
	w.b = binary.LittleEndian.AppendUint32(w.b, seq)
	w.b = binary.LittleEndian.AppendUint32(w.b, portID)
}

// end finishes the message.
func (w *builder) end() {
	binary.LittleEndian.PutUint32(w.b[w.start:], uint32(len(w.b)-w.start))
	w.pad()
}

func (w *builder) pad() {
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

// The parts of a message.

func (w *builder) u8(v ...uint8) { w.b = append(w.b, v...) }
func (w *builder) u16(v uint16)  { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *builder) u32(v uint32)  { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *builder) u64(v uint64)  { w.b = binary.LittleEndian.AppendUint64(w.b, v) }

// attr appends an attribute of bytes.
func (w *builder) attr(typ int, value []byte) {
	w.u16(uint16(attrSize + len(value)))
	w.u16(uint16(typ))
	w.b = append(w.b, value...)
	w.pad()
}

func (w *builder) attr8(typ int, v uint8)     { w.attr(typ, []byte{v}) }
func (w *builder) attr32(typ int, v uint32)   { w.attr(typ, binary.LittleEndian.AppendUint32(nil, v)) }
func (w *builder) attrText(typ int, s string) { w.attr(typ, append([]byte(s), 0)) }

// nest begins an attribute of attributes; what it returns ends it.
func (w *builder) nest(typ int) func() {
	at := len(w.b)
	w.u16(0)
	w.u16(uint16(typ))
	return func() { binary.LittleEndian.PutUint16(w.b[at:], uint16(len(w.b)-at)) }
}
