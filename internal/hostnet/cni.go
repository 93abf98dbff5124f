package hostnet

// cniCall says how plug-ins were called.
type cniCall struct{}

func (n *Networks) cniDelete(*record) error { return nil }
