package socket

import (
	"encoding/binary"
	"sync/atomic"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// Buffers are SO_SNDBUF and SO_RCVBUF of the families that know no other maximum than
// abi.DefaultSocketBuffer. The zero value has the defaults.
type Buffers struct {
	send, receive atomic.Int32 // 0 is the default
}

// SendBuffer is SO_SNDBUF in bytes.
func (b *Buffers) SendBuffer() int32 { return orDefault(b.send.Load()) }

// ReceiveBuffer is SO_RCVBUF in bytes.
func (b *Buffers) ReceiveBuffer() int32 { return orDefault(b.receive.Load()) }

func orDefault(v int32) int32 {
	if v == 0 {
		return abi.DefaultSocketBuffer
	}
	return v
}

// BufferOption returns the value of an option of SOL_SOCKET; ok is false if it is no
// buffer's.
func (b *Buffers) BufferOption(name int32) (value []byte, ok bool) {
	switch name {
	case unix.SO_SNDBUF:
		return Number(b.SendBuffer()), true
	case unix.SO_RCVBUF:
		return Number(b.ReceiveBuffer()), true
	}
	return nil, false
}

// MemoryInfo is SO_MEMINFO of a socket that holds so many bytes for its program and for its peer, and has lost so many
// messages for want of room: nine numbers (SK_MEMINFO_*).
func MemoryInfo(received, receiveBuffer, sent, sendBuffer, drops int32) (b []byte) {
	for _, v := range [9]int32{received, receiveBuffer, sent, sendBuffer, 8: drops} {
		b = append(b, Number(v)...)
	}
	return b
}

// SetBufferOption sets one; ok is false if it is no buffer's. EINVAL for a value that is
// too short, EPERM for those that take a privilege which the caller has not. That goes
// no further than the maximum here: it bounds the sentry.
func (b *Buffers) SetBufferOption(name int32, value []byte, privileged func() bool) (ok bool, err error) {
	side, least := &b.send, int32(abi.MinSocketSendBuffer)
	switch name {
	case unix.SO_SNDBUF, unix.SO_SNDBUFFORCE:
	case unix.SO_RCVBUF, unix.SO_RCVBUFFORCE:
		side, least = &b.receive, abi.MinSocketReceiveBuffer
	default:
		return false, nil
	}
	if len(value) < 4 {
		return true, unix.EINVAL
	}
	if (name == unix.SO_SNDBUFFORCE || name == unix.SO_RCVBUFFORCE) && !privileged() {
		return true, unix.EPERM
	}
	v := binary.LittleEndian.Uint32(value)
	if int32(v) < 0 && (name == unix.SO_SNDBUFFORCE || name == unix.SO_RCVBUFFORCE) {
		v = 0
	}
	side.Store(max(2*int32(min(v, abi.DefaultSocketBuffer)), least))
	return true, nil
}

// Number is the value of an option that is an int.
func Number(v int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }

// Boolean is the value of an option that is on or off.
func Boolean(v bool) []byte {
	if v {
		return Number(1)
	}
	return Number(0)
}
