package stub

// Reset implements platform.Resetter.
func (p *Process) Reset() bool {
	t := p.lastGuest()
	if t == nil || !t.withoutRseq() {
		return false
	}
	t.claim()
	t.giveStaging()
	t.leave()
	p.mu.Lock()
	p.mapping, p.reserve, p.death = nil, nil, nil
	f := p.OnReset
	p.mu.Unlock()
	if f != nil {
		f()
	}
	return true
}

// lastGuest returns the thread that runs guest code if it is the only one.
func (p *Process) lastGuest() *Thread {
	p.mu.Lock()
	defer p.mu.Unlock()
	var last *Thread
	for _, t := range p.threads {
		switch {
		case t.parked:
		case last != nil:
			return nil
		default:
			last = t
		}
	}
	if p.gone.Load() {
		return nil
	}
	return last
}
