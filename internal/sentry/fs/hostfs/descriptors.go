package hostfs

import "sync"

// descriptor is one host descriptor in use or idle. It is reached through a
// slot, a field of the inode that it belongs to.
type descriptor struct {
	fd   int
	refs int
	slot **descriptor
	// Neighbours on the list of idle descriptors.
	next, prev *descriptor
}

// descriptorCache shares descriptors among their users and keeps a bounded
// number of idle ones, the most recently used. Slots are guarded by mu.
type descriptorCache struct {
	maxIdle int
	close   func(fd int)

	mu sync.Mutex
	// idle is the ring of idle descriptors; idle.next was used last.
	idle  descriptor
	nIdle int
}

func (c *descriptorCache) init(maxIdle int, close func(fd int)) {
	c.maxIdle, c.close = maxIdle, close
	c.idle.next, c.idle.prev = &c.idle, &c.idle
}

// get returns the slot's descriptor with a reference, or nil.
func (c *descriptorCache) get(slot **descriptor) *descriptor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.take(*slot)
}

func (c *descriptorCache) take(d *descriptor) *descriptor {
	if d == nil {
		return nil
	}
	if d.refs == 0 {
		d.prev.next, d.next.prev = d.next, d.prev
		d.next, d.prev = nil, nil
		c.nIdle--
	}
	d.refs++
	return d
}

// put gives the slot a descriptor and returns it with a reference. If another
// was faster, fd is closed and the other is returned.
func (c *descriptorCache) put(slot **descriptor, fd int) *descriptor {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.take(*slot); d != nil {
		c.close(fd)
		return d
	}
	d := &descriptor{fd: fd, refs: 1, slot: slot}
	*slot = d
	return d
}

// release drops a reference. What nobody uses any more becomes idle, and the
// descriptor that has been idle longest is closed if there are too many.
func (c *descriptorCache) release(d *descriptor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.refs--; d.refs > 0 {
		return
	}
	d.next, d.prev = c.idle.next, &c.idle
	d.next.prev, d.prev.next = d, d
	c.nIdle++
	if c.nIdle > c.maxIdle {
		c.drop(c.idle.prev)
	}
}

// forget closes the slot's descriptor if it is idle.
func (c *descriptorCache) forget(slot **descriptor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := *slot; d != nil && d.refs == 0 {
		c.drop(d)
	}
}

// clear closes all idle descriptors.
func (c *descriptorCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.nIdle > 0 {
		c.drop(c.idle.prev)
	}
}

// drop closes an idle descriptor.
func (c *descriptorCache) drop(d *descriptor) {
	d.prev.next, d.next.prev = d.next, d.prev
	c.nIdle--
	*d.slot = nil
	c.close(d.fd)
}
