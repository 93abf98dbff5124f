package network

// Observe counts those who receive copies of packets: n is 1 for one more, -1 for one less.
func (n *Namespace) Observe(delta int32) { n.observers.Add(delta) }

// Observed reports whether somebody receives copies of packets, so that what could go
// without packets is to be made of them.
func (n *Namespace) Observed() bool { return n.observers.Load() > 0 }
