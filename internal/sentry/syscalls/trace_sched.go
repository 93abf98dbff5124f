package syscalls

import "coffer/internal/sentry/mm"

// schedAttrLayout is that of the first version of struct sched_attr.
var schedAttrLayout = layout{size: schedAttrSizeV0, fields: []field{
	{name: "size", size: 4}, {name: "sched_policy", offset: 4, size: 4, kind: Enum, flags: policyNames},
	{name: "sched_flags", offset: 8, size: 8, kind: Flags, flags: &FlagSet{Names: []FlagName{
		{schedFlagResetOnFork, "SCHED_FLAG_RESET_ON_FORK"}, {schedFlagReclaim, "SCHED_FLAG_RECLAIM"},
		{schedFlagOverrun, "SCHED_FLAG_DL_OVERRUN"}, {schedFlagKeepPolicy, "SCHED_FLAG_KEEP_POLICY"},
		{schedFlagKeepParams, "SCHED_FLAG_KEEP_PARAMS"},
	}}},
	{name: "sched_nice", offset: 16, size: 4}, {name: "sched_priority", offset: 20, size: 4},
	{name: "sched_runtime", offset: 24, size: 8}, {name: "sched_deadline", offset: 32, size: 8},
	{name: "sched_period", offset: 40, size: 8},
}}

// appendCPUSet renders a CPU mask of n bytes.
func (g *guestView) appendCPUSet(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendBits(b, mem, addr, 8*uint64(uint32(n)))
}

// appendNodeSet renders a mask of memory nodes; as mbind(2) tells, maxnode is
// one more than there are bits.
func (g *guestView) appendNodeSet(b []byte, mem *[]byte, addr, maxnode uint64) []byte {
	return g.appendBits(b, mem, addr, max(maxnode, 1)-1)
}

// appendPages renders mincore(2)'s answer, a byte for each page of length
// bytes of memory.
func (g *guestView) appendPages(b []byte, mem *[]byte, addr, length uint64) []byte {
	pages := length/mm.PageSize + (length%mm.PageSize+mm.PageSize-1)/mm.PageSize
	return g.appendArray(b, mem, addr, pages, 1, func(b, s []byte) []byte {
		return appendValue(b, Unsigned, nil, uint64(s[0]))
	})
}
