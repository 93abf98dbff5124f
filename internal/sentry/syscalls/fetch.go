package syscalls

import "coffer/internal/sentry/platform"

// fetchSizes are how many bytes at most a call reads at first of an argument
// of that kind. Arrays are brought along if they are short.
var fetchSizes = [numKinds]int{
	PathStr:    platform.FetchMax,
	Str:        platform.FetchMax,
	Buf:        platform.FetchMax,
	SigSet:     8,
	Timespec:   16,
	Timeval:    16,
	Itimerspec: 32,
	Itimerval:  32,
	RLimit:     16,
	Sockaddr:   platform.FetchMax,
	IOVec:      platform.FetchMax,
	OutIOVec:   platform.FetchMax,
	RangeVec:   platform.FetchMax,
	PollFDs:    platform.FetchMax,
	Sigaction:  32,
	EpollEvent: 12, // packed
	Option:     16, // as long as a struct timeval; most are an int
	InOutInt:   4,
	Msghdr:     sizeofMsghdr,
	OutMsghdr:  sizeofMsghdr,
}

// readsOut are the kinds that a call reads too, though it is what it writes that is shown.
var readsOut = [numKinds]bool{OutIOVec: true, OutMsghdr: true, OutMmsghdrs: true}

// Fetches tells, by the calls' numbers, what each reads first of guest memory.
func (t *Table) Fetches() map[uint64]platform.Fetch {
	fetches := make(map[uint64]platform.Fetch)
	for _, r := range t.rows {
		if r == nil || r.Support == Missing {
			continue
		}
		for i, p := range r.Params {
			if p.Value {
				continue
			}
			size := fetchSizes[p.Kind]
			if size == 0 && p.Depends == nil && p.Kind.isOut() && !readsOut[p.Kind] {
				continue
			}
			if p.Depends != nil || size == 0 && p.Kind.isPointer() {
				// What the call reads first, or whether it looks at what
				// follows at all, isn't known: futex(2)'s operations differ.
				break
			}
			if size == 0 {
				continue
			}
			counted := p.Kind == Buf
			if !counted || i == 1 {
				fetches[r.Number] = platform.Fetch{Arg: i, Max: size, Counted: counted, Vector: p.Kind == IOVec && i == 1}
			}
			break
		}
	}
	return fetches
}
