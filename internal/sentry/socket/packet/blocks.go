package packet

import (
	"encoding/binary"
	"math"
	"time"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// sizeofRequest3 is that of struct tpacket_req3, sizeofBlock of struct tpacket_block_desc.
	sizeofRequest3 = 28
	sizeofBlock    = 48
	// statusOfBlock is where the status is in the latter.
	statusOfBlock = 8
	// defaultRetire is how long a block is open if tp_retire_blk_tov does not say, as on Linux.
	defaultRetire = 8 * time.Millisecond
)

// blocks fill a ring of TPACKET_V3: frames of any length lie one after another in a block, which is the
// guest's once it is full, or has been open for a time (packet(7); Documentation/networking/packet_mmap.rst
// of Linux). The socket's mu protects all of it.
type blocks struct {
	r     *ring
	count int
	// begin is where the first frame of each block is.
	begin int
	// retire is how long a block stays open; retirer ends that for the one that has been since opened.
	retire  time.Duration
	retirer *time.Timer
	opened  time.Time

	// current is the block that is filled if it is open, and the next one to be if not.
	current int
	open    bool
	// sequence is the current block's number, from 1 on, packets how many frames it has. The latest of
	// them, which came at a time, is at latest, and the next one will be at next.
	sequence      uint64
	packets       uint32
	latest, next  int
	first, lately time.Time
	// frozen says that no block is free; freezes is how often that has happened since somebody asked.
	frozen  bool
	freezes uint32
}

// newBlocks reads what is only in a struct tpacket_req3. s.mu is held.
func (s *Socket) newBlocks(r *ring, count int, request []byte) (*blocks, error) {
	retire, private := binary.LittleEndian.Uint32(request[16:]), int64(binary.LittleEndian.Uint32(request[20:]))
	begin := sizeofBlock + (private+7)&^7
	if begin+int64(r.fixed()+r.reserve) > int64(r.blockSize) {
		return nil, unix.EINVAL
	}
	b := &blocks{r: r, count: count, begin: int(begin), retire: time.Duration(retire) * time.Millisecond}
	if retire == 0 {
		b.retire = defaultRetire
	}
	b.retirer = time.AfterFunc(b.retire, crash.Guard(func() {
		s.mu.Lock()
		late := s.ring == r && b.open && time.Since(b.opened) >= b.retire
		if late {
			b.handOver(unix.TP_STATUS_BLK_TMO, s.drops > 0)
		}
		s.mu.Unlock()
		if late {
			s.wait.Notify(waiter.Readable)
		}
	}))
	b.retirer.Stop()
	return b, nil
}

// start is where a block begins.
func (b *blocks) start(i int) int64 { return int64(i) * int64(b.r.blockSize) }

// ours reports whether the guest has given a block back.
func (b *blocks) ours(i int) bool {
	v, ok := b.r.word(b.start(i) + statusOfBlock)
	return ok && v == unix.TP_STATUS_KERNEL
}

// waiting reports whether there is a block for the guest to read: the one before the current.
func (b *blocks) waiting() bool { return !b.ours((b.current + b.count - 1) % b.count) }

// put adds a frame; false if no block is free. losing says that some were lost since the guest last asked.
func (b *blocks) put(f *frame, losing bool) bool {
	mac, net := b.r.offsets(f)
	if net > math.MaxUint16 {
		return false // the header has no room for it
	}
	room := b.r.blockSize - b.begin
	mac = min(mac, room) // where PACKET_RESERVE leaves no room for bytes, there are none
	data := f.data[:min(len(f.data), room-mac)]
	size := (mac + len(data) + 7) &^ 7
	if b.open && b.packets > 0 && b.next+size >= b.r.blockSize { // Linux fills none to its last byte
		b.handOver(0, losing)
	}
	if !b.open {
		if !b.ours(b.current) {
			if !b.frozen {
				b.frozen = true
				b.freezes++
			}
			return false
		}
		b.open, b.frozen = true, false
		b.sequence++
		b.packets, b.next, b.first = 0, b.begin, f.at
		b.opened = time.Now()
		b.retirer.Reset(b.retire)
	}
	var h [headerSize3 + sizeofSockaddr]byte // struct tpacket3_hdr
	le := binary.LittleEndian
	le.PutUint32(h[0:], uint32(size)) // tp_next_offset
	le.PutUint32(h[4:], uint32(f.at.Unix()))
	le.PutUint32(h[8:], uint32(f.at.Nanosecond()))
	le.PutUint32(h[12:], uint32(len(data)))
	le.PutUint32(h[16:], uint32(f.size))
	le.PutUint32(h[20:], unix.TP_STATUS_USER)
	le.PutUint16(h[24:], uint16(mac))
	le.PutUint16(h[26:], uint16(net))
	copy(h[headerSize3:], f.from.bytes())
	at := b.start(b.current) + int64(b.next)
	if !b.r.write(data, at+int64(mac)) || !b.r.write(h[:], at) {
		return false
	}
	b.latest, b.lately = b.next, f.at
	b.next += size
	b.packets++
	return true
}

// handOver gives the open block to the guest, with further bits of its status.
func (b *blocks) handOver(status uint32, losing bool) {
	b.retirer.Stop()
	if status |= unix.TP_STATUS_USER; losing {
		status |= unix.TP_STATUS_LOSING
	}
	var h [sizeofBlock]byte // struct tpacket_block_desc
	le := binary.LittleEndian
	le.PutUint32(h[0:], tpacketV3)
	le.PutUint32(h[4:], sizeofBlock) // offset_to_priv
	le.PutUint32(h[12:], b.packets)
	le.PutUint32(h[16:], uint32(b.begin))
	le.PutUint32(h[20:], uint32(b.next))
	le.PutUint64(h[24:], b.sequence)
	le.PutUint32(h[32:], uint32(b.first.Unix()))
	le.PutUint32(h[36:], uint32(b.first.Nanosecond()))
	le.PutUint32(h[40:], uint32(b.lately.Unix()))
	le.PutUint32(h[44:], uint32(b.lately.Nanosecond()))
	at := b.start(b.current)
	b.r.write(make([]byte, 4), at+int64(b.latest)) // the last frame has no next one
	b.r.write(h[:], at)
	// The status comes last: with it the guest may read the rest.
	le.PutUint32(h[:], status)
	b.r.write(h[:4], at+statusOfBlock)
	b.open, b.current = false, (b.current+1)%b.count
}

// free reports whether there is room for a frame.
func (b *blocks) free() bool { return b.open || b.ours(b.current) }
