// Package trap is the default platform: guest code runs in stub processes
// behind a seccomp filter, whose SIGSYS handler hands the registers of each
// system call to the sentry over shared memory.
//
// Syscall User Dispatch is not used: the filter has to be there in any case,
// as the wall, and the host looks at it for every call of a thread that has
// one; the signal that follows costs the same either way.
package trap

import (
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/stub"
)

// Name is the platform's name.
const Name = "trap"

type trap struct {
	stubs  *stub.Stubs
	texts  *texts
	counts counts
}

// New starts the platform.
func New(options ...stub.Option) (platform.Platform, error) {
	s, err := stub.New(options...)
	if err != nil {
		return nil, err
	}
	return &trap{stubs: s, texts: newTexts(s)}, nil
}

func (*trap) Name() string              { return Name }
func (p *trap) Limits() platform.Limits { return p.stubs.Limits() }
func (p *trap) Close()                  { p.stubs.Close() }

func (p *trap) NewAddressSpace() (platform.AddressSpace, platform.Context, error) {
	t, err := p.stubs.NewThread()
	if err != nil {
		return nil, nil, err
	}
	return t.AddressSpace(), newContext(t, newSpace(t.Process(), &p.counts, newFamily()), p.texts), nil
}
