package network

// Restricted reports whether there is a policy, so that a Flow need be made at all.
func (n *Namespace) Restricted() bool { return n.config.Policy != nil }
