package stub

// Reset implements platform.Resetter.
func (p *Process) Reset() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.threads) == 1 && !p.gone.Load()
}
