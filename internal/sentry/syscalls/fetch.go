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

// alsoParts are the kinds that come along if a call reads them after something else of known size.
var alsoParts = [numKinds]platform.Part{
	PathStr:    {Max: platform.FetchMax},
	Str:        {Max: platform.FetchMax},
	Sockaddr:   {Max: platform.FetchMax},
	InOutFDSet: {Max: platform.FetchMax, Bits: true},
	SigSet:     {Max: 8},
	SigSetArg:  {Max: 16, Points: true},
	Timespec:   {Max: 16},
	Timespecs:  {Max: 32},
	Timeval:    {Max: 16},
	Timevals:   {Max: 32},
}

// Fetches tells, by the calls' numbers, what each reads first of guest memory.
func (t *Table) Fetches() map[uint64]platform.Fetch {
	fetches := make(map[uint64]platform.Fetch)
	for _, r := range t.rows {
		if r == nil || r.Support == Missing {
			continue
		}
		if f := fetchOf(r.Params); f.Max != 0 {
			fetches[r.Number] = f
		}
	}
	return fetches
}

// fetchOf tells it of a call with these parameters.
func fetchOf(params []Param) platform.Fetch {
	var f platform.Fetch
	parts, room := 0, platform.AlsoMax
	for i, p := range params {
		size, part := fetchSizes[p.Kind], alsoParts[p.Kind]
		takes := 1
		if part.Points {
			takes = 2 // with what it points to
		}
		switch {
		case p.Value || p.Depends == nil && size == 0 && p.Kind.isOut() && !readsOut[p.Kind]:
		case p.Depends != nil:
			// What the call reads first, or whether it looks at what
			// follows at all, isn't known: futex(2)'s operations differ.
			return f
		case size != 0 && f.Max == 0:
			counted := p.Kind == Buf
			if counted && i != 1 {
				return f
			}
			f.Arg, f.Max, f.Counted, f.Vector = i, size, counted, p.Kind == IOVec && i == 1
		case part.Max != 0 && takes <= room:
			part.Arg = i
			f.Also[parts] = part
			parts++
			room -= takes
		case p.Kind.isPointer():
			return f
		}
	}
	return f
}
