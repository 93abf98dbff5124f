package stub

import (
	"sync"

	"coffer/internal/sentry/crash"
)

// poolSize is how many empty address spaces are kept ready.
const poolSize = 2

// pool keeps empty address spaces ready, so that exec need not wait for a
// fork. It fills itself after each use and is at rest otherwise.
type pool struct {
	stubs *Stubs
	ready chan *Thread

	mu      sync.Mutex
	filling bool
	closed  bool
}

func newPool(s *Stubs) *pool {
	p := &pool{stubs: s, ready: make(chan *Thread, poolSize)}
	p.refill()
	return p
}

// take returns a ready address space, or makes one.
func (p *pool) take() (*Thread, error) {
	for {
		select {
		case t := <-p.ready:
			p.refill()
			if t.Gone() {
				t.Release()
				continue
			}
			return t, nil
		default:
			p.refill()
			return p.stubs.forkTemplate()
		}
	}
}

// refill fills the pool in the background.
func (p *pool) refill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.filling || p.closed {
		return
	}
	p.filling = true
	go crash.Guard(func() {
		for {
			t, err := p.stubs.forkTemplate()
			p.mu.Lock()
			if err == nil && !p.closed {
				select {
				case p.ready <- t:
					if len(p.ready) < poolSize {
						p.mu.Unlock()
						continue
					}
					t = nil
				default:
				}
			}
			p.filling = false
			p.mu.Unlock()
			if err == nil && t != nil {
				t.Release()
			}
			return
		}
	})()
}

// close gives up what is ready.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for {
		select {
		case t := <-p.ready:
			t.Release()
		default:
			return
		}
	}
}
