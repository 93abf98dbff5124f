package link

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The pcap file format, as draft-ietf-opsawg-pcap has it: a header, and one before
// each frame.
const (
	pcapMagic     = 0xa1b23c4d // times are in nanoseconds
	pcapEthernet  = 1
	pcapSnapshot  = 256 << 10 // the largest frame there can be is smaller
	recordHeader  = 16
	captureQueued = 8 << 20 // bytes that wait to be written at most
)

// Capture writes what crosses a link to a file. A link does not wait for it: what
// the file does not take in time is left out, and that is told. A nil Capture takes nothing.
type Capture struct {
	file *os.File
	name string
	log  func(string)

	mu      sync.Mutex
	changed sync.Cond
	pending []byte // records
	missing int    // records left out
	ended   bool   // nothing is taken any more
	done    chan struct{}
}

// NewCapture returns one that writes to a file, which it owns. The name is what messages
// call the link, log takes them.
func NewCapture(f *os.File, name string, log func(string)) *Capture {
	c := &Capture{file: f, name: name, log: log, done: make(chan struct{})}
	c.changed.L = &c.mu
	c.pending = binary.LittleEndian.AppendUint32(c.pending, pcapMagic)
	c.pending = binary.LittleEndian.AppendUint16(c.pending, 2) // version 2.4
	c.pending = binary.LittleEndian.AppendUint16(c.pending, 4)
	c.pending = append(c.pending, make([]byte, 8)...) // reserved
	c.pending = binary.LittleEndian.AppendUint32(c.pending, pcapSnapshot)
	c.pending = binary.LittleEndian.AppendUint32(c.pending, pcapEthernet)
	go c.write()
	return c
}

// Frame adds a frame.
func (c *Capture) Frame(b []byte) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begin(len(b)) {
		c.pending = append(c.pending, b...)
	}
}

// packet adds a frame of the stack's.
func (c *Capture) packet(pkt *stack.PacketBuffer) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begin(pkt.Size()) {
		return
	}
	views, offset := pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		skip := min(offset, len(b))
		offset -= skip
		c.pending = append(c.pending, b[skip:]...)
	}
}

// begin adds the header of a frame of size bytes, which follow. It is false if the frame is left
// out. c.mu is held.
func (c *Capture) begin(size int) bool {
	switch {
	case c.ended:
		return false
	case len(c.pending)+recordHeader+size > captureQueued:
		c.missing++
		return false
	}
	now := time.Now()
	c.pending = binary.LittleEndian.AppendUint32(c.pending, uint32(now.Unix()))
	c.pending = binary.LittleEndian.AppendUint32(c.pending, uint32(now.Nanosecond()))
	c.pending = binary.LittleEndian.AppendUint32(c.pending, uint32(size))
	c.pending = binary.LittleEndian.AppendUint32(c.pending, uint32(size))
	c.changed.Signal()
	return true
}

// write writes until the capture ends.
func (c *Capture) write() {
	defer close(c.done)
	var spare []byte
	for {
		c.mu.Lock()
		for len(c.pending) == 0 && !c.ended {
			c.changed.Wait()
		}
		b := c.pending
		c.pending = spare[:0]
		c.mu.Unlock()
		if len(b) == 0 {
			break
		}
		if _, err := c.file.Write(b); err != nil {
			c.mu.Lock()
			c.ended, c.pending = true, nil
			c.mu.Unlock()
			c.tell(fmt.Sprintf("the capture of %s has ended, and what was sent and received since then is not in it: %v", c.name, err))
			break
		}
		if spare = b; cap(spare) > 1<<20 {
			spare = nil
		}
	}
	c.mu.Lock()
	missing := c.missing
	c.mu.Unlock()
	if missing > 0 {
		c.tell(fmt.Sprintf("the capture of %s lacks %d frames: its file took them too slowly", c.name, missing))
	}
	c.file.Close()
}

func (c *Capture) tell(message string) {
	if c.log != nil {
		c.log(message)
	}
}

// closePatience is how long a file may take for the last of a capture.
const closePatience = 2 * time.Second

// Close ends the capture once what there is has been written.
func (c *Capture) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.ended = true
	c.changed.Signal()
	c.mu.Unlock()
	select {
	case <-c.done:
	case <-time.After(closePatience):
	}
}
