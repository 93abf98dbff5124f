package network

// UsesHost reports whether the sockets of this network are the host's own.
func (n *Namespace) UsesHost() bool { return n.config.Host }
