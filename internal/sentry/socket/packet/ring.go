package packet

import (
	"encoding/binary"
	"math"
	"os"
	"sync/atomic"

	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

// PACKET_VERSION: the layouts of a ring.
const (
	tpacketV1 = 0
	tpacketV2 = 1
	tpacketV3 = 2 // blocks.go

	// headerSize is that of struct tpacket_hdr and of tpacket2_hdr, headerSize3 of tpacket3_hdr,
	// aligned to TPACKET_ALIGNMENT; sizeofSockaddr follows.
	headerSize  = 32
	headerSize3 = 48
	alignment   = 16
	// sizeofRequest is that of struct tpacket_req.
	sizeofRequest = 16
)

const (
	// maxRing is the largest ring in bytes, and maxRings how many there are at once:
	// each has a descriptor of the host's.
	maxRing  = 64 << 20
	maxRings = 256
)

var rings atomic.Int32

// ring is memory that the guest maps, of frames that each begin with a status: who
// may write them, the socket (0) or the guest.
type ring struct {
	fd      int // a memory file of the host's
	size    int64
	version int32
	reserve int
	cooked  bool // of SOCK_DGRAM: frames come without the link's header
	// frames are frameSize bytes each, perBlock in each block of blockSize.
	frameSize, frames, blockSize, perBlock int
	next                                   int
	// blocks is what TPACKET_V3 has instead of frames, or nil.
	blocks *blocks
	// mapped says that the guest has mapped it, for as long as the socket lives.
	mapped bool
}

// hdrlen is the answer of PACKET_HDRLEN for a version.
func hdrlen(version int32) (int32, error) {
	switch version {
	case tpacketV1, tpacketV2:
		return headerSize, nil
	case tpacketV3:
		return headerSize3, nil
	}
	return 0, unix.EINVAL
}

// Asks and Answer implement socket.Asker: PACKET_HDRLEN's value is a version.
func (s *Socket) Asks(level, name int32) bool {
	return level == unix.SOL_PACKET && name == unix.PACKET_HDRLEN
}

// Answer is the length of a version's header.
func (s *Socket) Answer(_, _ int32, value []byte) ([]byte, error) {
	if len(value) < 4 {
		return nil, unix.EINVAL
	}
	n, err := hdrlen(int32(binary.LittleEndian.Uint32(value)))
	if err != nil {
		return nil, err
	}
	return socket.Number(n), nil
}

// setRingOption sets PACKET_VERSION and PACKET_RESERVE. EBUSY while there is a ring.
func (s *Socket) setRingOption(name, v int32) error {
	if name == unix.PACKET_VERSION {
		if _, err := hdrlen(v); err != nil {
			return err
		}
	} else if v < 0 || v > maxRing {
		return unix.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring != nil {
		return unix.EBUSY
	}
	if name == unix.PACKET_VERSION {
		s.version.Store(v)
	} else {
		s.reserve.Store(v)
	}
	return nil
}

// setRing is PACKET_RX_RING: a struct tpacket_req, or tpacket_req3, makes a ring, one of zeros removes it.
func (s *Socket) setRing(value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	version := s.version.Load() // which another thread may change before the lock is taken
	if len(value) < sizeofRequest || version == tpacketV3 && len(value) < sizeofRequest3 {
		return unix.EINVAL
	}
	word := func(i int) int64 { return int64(binary.LittleEndian.Uint32(value[4*i:])) }
	blockSize, blocks, frameSize, frames := word(0), word(1), word(2), word(3)
	if s.ring != nil && (s.ring.mapped || blocks != 0) {
		return unix.EBUSY
	}
	if blocks == 0 {
		if frames != 0 {
			return unix.EINVAL
		}
		if s.ring != nil {
			s.ring.close()
			s.ring = nil
		}
		return nil
	}
	r := &ring{version: version, reserve: int(s.reserve.Load()), cooked: s.typ == unix.SOCK_DGRAM}
	switch {
	case blockSize <= 0 || blockSize%int64(os.Getpagesize()) != 0,
		frameSize < int64(r.fixed()+r.reserve) || frameSize%alignment != 0 || frameSize > blockSize,
		blockSize/frameSize*blocks != frames:
		return unix.EINVAL
	case blocks > maxRing/blockSize:
		return unix.ENOMEM
	}
	r.size, r.frameSize, r.frames = blockSize*blocks, int(frameSize), int(frames)
	r.blockSize, r.perBlock = int(blockSize), int(blockSize/frameSize)
	if r.version == tpacketV3 {
		var err error
		if r.blocks, err = s.newBlocks(r, int(blocks), value); err != nil {
			return err
		}
	}
	if err := r.open(); err != nil {
		return err
	}
	s.ring = r
	return nil
}

func (r *ring) open() error {
	if rings.Add(1) > maxRings {
		rings.Add(-1)
		return unix.ENOMEM
	}
	if !shmem.Buffers.Charge(r.size) {
		rings.Add(-1)
		return unix.ENOMEM
	}
	fd, err := unix.MemfdCreate("coffer-ring", unix.MFD_CLOEXEC)
	if err == nil {
		if err = unix.Ftruncate(fd, r.size); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		rings.Add(-1)
		shmem.Buffers.Uncharge(r.size)
		return unix.ENOMEM
	}
	r.fd = fd
	return nil
}

func (r *ring) close() {
	if r.blocks != nil {
		r.blocks.retirer.Stop()
	}
	unix.Close(r.fd)
	rings.Add(-1)
	shmem.Buffers.Uncharge(r.size)
}

// place is the offset of a frame.
func (r *ring) place(i int) int64 {
	return int64(i/r.perBlock)*int64(r.blockSize) + int64(i%r.perBlock)*int64(r.frameSize)
}

// status is a frame's status as the guest last left it.
func (r *ring) status(i int) (uint32, bool) { return r.word(r.place(i)) }

// free reports whether there is room for a frame.
func (r *ring) free() bool {
	if r.blocks != nil {
		return r.blocks.free()
	}
	v, ok := r.status(r.next)
	return ok && v == unix.TP_STATUS_KERNEL
}

// word is a number in the ring.
func (r *ring) word(at int64) (uint32, bool) {
	var b [4]byte
	n, err := unix.Pread(r.fd, b[:], at)
	return binary.LittleEndian.Uint32(b[:]), err == nil && n == len(b)
}

// waiting reports whether there is something for the guest to read: the frame before
// the next is not ours.
func (r *ring) waiting() bool {
	if r.blocks != nil {
		return r.blocks.waiting()
	}
	v, ok := r.status((r.next + r.frames - 1) % r.frames)
	return ok && v != unix.TP_STATUS_KERNEL
}

// put writes a frame into the ring; false if the guest has not yet given back the place
// for it. losing says that some were lost since the guest last asked.
func (r *ring) put(f *frame, losing bool) bool {
	if r.blocks != nil {
		return r.blocks.put(f, losing)
	}
	at := r.place(r.next)
	if !r.free() {
		return false
	}
	mac, net := r.offsets(f)
	if net > math.MaxUint16 {
		return false // the header has no room for it
	}
	data := f.data
	if mac+len(data) > r.frameSize {
		data = data[:max(r.frameSize-mac, 0)]
	}
	status := uint32(unix.TP_STATUS_USER)
	if losing {
		status |= unix.TP_STATUS_LOSING
	}
	var b [headerSize + sizeofSockaddr]byte
	h := 4 // where the fields after the status begin
	if r.version == tpacketV1 {
		h = 8
	}
	binary.LittleEndian.PutUint32(b[h:], uint32(f.size))
	binary.LittleEndian.PutUint32(b[h+4:], uint32(len(data)))
	binary.LittleEndian.PutUint16(b[h+8:], uint16(mac))
	binary.LittleEndian.PutUint16(b[h+10:], uint16(net))
	binary.LittleEndian.PutUint32(b[h+12:], uint32(f.at.Unix()))
	frac := uint32(f.at.Nanosecond())
	if r.version == tpacketV1 {
		frac /= 1e3
	}
	binary.LittleEndian.PutUint32(b[h+16:], frac)
	copy(b[headerSize:], f.from.bytes())
	binary.LittleEndian.PutUint32(b[:], status)
	// The status comes last: with it the guest may read the rest.
	if !r.write(data, at+int64(mac)) || !r.write(b[4:], at+4) || !r.write(b[:4], at) {
		return false
	}
	r.next = (r.next + 1) % r.frames
	return true
}

// fixed is what comes before each frame: its header, and where it came from.
func (r *ring) fixed() int {
	if r.version == tpacketV3 {
		return headerSize3 + sizeofSockaddr
	}
	return headerSize + sizeofSockaddr
}

// offsets are where a frame's bytes and its network's header begin, from its own header on.
func (r *ring) offsets(f *frame) (mac, net int) {
	if r.cooked {
		mac = align(r.fixed()) + 16 + r.reserve
		return mac, mac
	}
	net = align(r.fixed()+max(f.net, 16)) + r.reserve
	return net - f.net, net
}

func (r *ring) write(b []byte, at int64) bool {
	n, err := unix.Pwrite(r.fd, b, at)
	return err == nil && n == len(b)
}

func align(n int) int { return (n + alignment - 1) &^ (alignment - 1) }
