package stub

// Reset implements platform.Resetter.
func (p *Process) Reset() bool {
	p.mu.Lock()
	guests := 0
	for _, t := range p.threads {
		if !t.parked {
			guests++
		}
	}
	if guests != 1 || p.gone.Load() {
		p.mu.Unlock()
		return false
	}
	p.mapping, p.reserve, p.death = nil, nil, nil
	f := p.OnReset
	p.mu.Unlock()
	if f != nil {
		f()
	}
	return true
}
