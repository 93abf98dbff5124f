package syscalls

import "sync"

// layout says how a structure of fixed size in guest memory is rendered.
type layout struct {
	size   int
	fields []field
	// more is set if the structure has more fields than are shown.
	more bool
	// render is used in place of fields if it is not nil.
	render func(b, s []byte) []byte
}

// field is a number in a structure in guest memory.
type field struct {
	name   string
	offset int
	size   int  // 1, 2, 4 or 8 bytes
	kind   Kind // one of those that are no pointers, or Addr; Dec is the zero value
	flags  *FlagSet
}

// layouts are those of pointers to one structure of fixed size on x86-64.
var layouts = sync.OnceValue(func() map[Kind]layout {
	return map[Kind]layout{
		Int:           {size: 4, render: appendInt},
		InOutInt:      {size: 4, render: appendInt},
		OutInt:        {size: 4, render: appendInt},
		OutLong:       {size: 8, render: appendLong},
		InOutOff:      {size: 8, render: appendLong},
		OutAddr:       {size: 8, render: appendAddr},
		OutFDPair:     {size: 8, render: appendPair},
		SigSet:        {size: 8, render: appendSigSetBytes},
		OutSigSet:     {size: 8, render: appendSigSetBytes},
		Siginfo:       siginfoLayout,
		OutSiginfo:    siginfoLayout,
		Sigaction:     sigactionLayout,
		OutSigaction:  sigactionLayout,
		SigStack:      sigStackLayout,
		OutSigStack:   sigStackLayout,
		Sigevent:      {size: 20, render: appendSigevent},
		Timespec:      {size: 16, render: appendTimespec},
		OutTimespec:   {size: 16, render: appendTimespec},
		Timespecs:     {size: 32, render: appendTimespecs},
		Timeval:       {size: 16, render: appendTimeval},
		OutTimeval:    {size: 16, render: appendTimeval},
		Timevals:      {size: 32, render: appendTimevals},
		Utimbuf:       {size: 16, fields: []field{{name: "actime", size: 8}, {name: "modtime", offset: 8, size: 8}}},
		Timezone:      timezoneLayout,
		OutTimezone:   timezoneLayout,
		Itimerspec:    {size: 32, render: appendItimerspec},
		OutItimerspec: {size: 32, render: appendItimerspec},
		Itimerval:     {size: 32, render: appendItimerval},
		OutItimerval:  {size: 32, render: appendItimerval},
		RLimit:        {size: 16, render: appendRLimit},
		OutRLimit:     {size: 16, render: appendRLimit},
		OutStat:       {size: 144, render: appendStat},
		OutStatx:      {size: 256, render: appendStatx},
		OutStatfs:     statfsLayout,
		Flock:         {size: 32, fields: flockFields[:4]},
		InOutFlock:    {size: 32, fields: flockFields},
		OpenHow:       openHowLayout,
		XattrArgs:     xattrArgsLayout,
		CacheRange:    cacheRangeLayout,
		OutCachestat:  cachestatLayout,
		FileHandle:    fileHandleLayout,
		OutUstat:      ustatLayout,
		LsmCtx:        lsmCtxLayout,
		MountAttr:     mountAttrLayout,
		MountIDReq:    mountIDReqLayout,
		OutStatmount:  statmountLayout,
		OutMountIDs:   {size: 8, render: appendAddr},
		EpollEvent:    epollEventLayout,
		OutUtsname:    {size: 6 * utsLen, render: appendUtsname},
		OutSysinfo:    sysinfoLayout,
		OutTms:        tmsLayout,
		OutRusage:     {size: 144, render: appendRusage},
		CapHeader:     capHeaderLayout,
		SchedAttr:     schedAttrLayout,
		OutSchedAttr:  schedAttrLayout,
		RobustList:    robustListLayout,
		Rseq:          rseqLayout,
		SemDS:         semDSLayout,
		OutSemDS:      semDSLayout,
		MsgDS:         msgDSLayout,
		OutMsgDS:      msgDSLayout,
		ShmDS:         shmDSLayout,
		OutShmDS:      shmDSLayout,
		MqAttr:        mqAttrLayout,
		OutMqAttr:     mqAttrLayout,
		Winsize:       winsizeLayout,
		OutWinsize:    winsizeLayout,
		Termios:       termiosLayout,
		OutTermios:    termiosLayout,
		SockFprog:     fprogLayout,
		OutNotifSizes: notifSizesLayout,
	}
})

// pointers render what layouts do not hold: strings, arrays, and what depends
// on other arguments or the result. addr is not 0; n is the argument at the
// distance Param.Count.
var pointers = sync.OnceValue(func() map[Kind]renderer {
	return map[Kind]renderer{
		PathStr:        (*guestView).appendPath,
		Str:            (*guestView).appendStr,
		OutStr:         (*guestView).appendPath,
		StrVec:         (*guestView).appendStrings,
		Buf:            (*guestView).appendBuffer,
		OutBuf:         ofResult((*guestView).appendBuffer),
		IOVec:          (*guestView).appendIOVec,
		RangeVec:       (*guestView).appendRanges,
		OutIOVec:       (*guestView).appendOutIOVec,
		Msghdr:         (*guestView).appendMsghdr,
		OutMsghdr:      (*guestView).appendOutMsghdr,
		Mmsghdrs:       (*guestView).appendMmsghdrs,
		OutMmsghdrs:    ofResult((*guestView).appendOutMmsghdrs),
		Sockaddr:       (*guestView).appendSockaddr,
		OutSockaddr:    ofPointer((*guestView).appendSockaddr),
		Option:         (*guestView).appendOption,
		OutOption:      ofPointer((*guestView).appendOption),
		SigSetArg:      (*guestView).appendSigSetArg,
		CloneArgs:      (*guestView).appendCloneArgs,
		OutTID:         (*guestView).appendTID,
		OutWaitStatus:  (*guestView).appendWaitStatus,
		OutWaitRusage:  (*guestView).appendWaitRusage,
		OutEpollEvents: ofResult((*guestView).appendEpollEvents),
		PollFDs:        (*guestView).appendPollFDs,
		InOutFDSet:     (*guestView).appendFDSet,
		OutDirents:     ofResult((*guestView).appendDirents),
		OutDirents64:   ofResult((*guestView).appendDirents64),
		IDs:            (*guestView).appendIDs,
		Addrs:          (*guestView).appendAddrs,
		Ints:           (*guestView).appendInts,
		OutInts:        (*guestView).appendInts,
		OutIDs:         ofResult((*guestView).appendIDs),
		CapData:        (*guestView).appendCapData,
		OutCapData:     (*guestView).appendCapData,
		CPUSet:         (*guestView).appendCPUSet,
		OutCPUSet:      ofResult((*guestView).appendCPUSet),
		NodeSet:        (*guestView).appendNodeSet,
		OutNodeSet:     (*guestView).appendNodeSet,
		OutPages:       (*guestView).appendPages,
		FutexWaiters:   (*guestView).appendFutexWaiters,
		FutexPair:      (*guestView).appendFutexPair,
		SemOps:         (*guestView).appendSemOps,
		SemValues:      (*guestView).appendSemValues,
		OutSemValues:   (*guestView).appendSemValues,
		MsgBuf:         (*guestView).appendMsgBuf,
		OutMsgBuf:      ofResult((*guestView).appendMsgBuf),
		InOutTimex:     (*guestView).appendTimex,
	}
})

// renderer is how what a pointer points to is rendered; see pointers.
type renderer = func(g *guestView, b []byte, mem *[]byte, addr, n uint64) []byte

// ofResult renders what is as long as the call's result says.
func ofResult(f renderer) renderer {
	return func(g *guestView, b []byte, mem *[]byte, addr, _ uint64) []byte {
		return f(g, b, mem, addr, uint64(g.result))
	}
}

// ofPointer renders what is as long as an int in guest memory says.
func ofPointer(f renderer) renderer {
	return func(g *guestView, b []byte, mem *[]byte, addr, lengthAt uint64) []byte {
		n := g.read(mem, lengthAt, 4)
		if len(n) < 4 {
			return appendPtr(b, addr)
		}
		return f(g, b, mem, addr, uint64(native.Uint32(n)))
	}
}

// append renders the structure whose bytes are s: "{a=1, b=2}".
func (l *layout) append(b, s []byte) []byte {
	if l.render != nil {
		return l.render(b, s)
	}
	b = append(b, '{')
	b = appendFields(b, s, l.fields)
	if l.more {
		b = append(b, ", ..."...)
	}
	return append(b, '}')
}

// appendFields renders fields of s: "a=1, b=2".
func appendFields(b, s []byte, fields []field) []byte {
	for i, f := range fields {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, f.name...), '=')
		b = f.append(b, s)
	}
	return b
}

// append renders the field's value in s.
func (f *field) append(b, s []byte) []byte {
	s = s[f.offset:]
	var v uint64
	switch f.size {
	case 1:
		v = uint64(s[0])
	case 2:
		v = uint64(native.Uint16(s))
		if f.kind == Dec {
			v = uint64(int16(v))
		}
	case 4:
		v = uint64(native.Uint32(s)) // appendValue takes it for an int
	default:
		v = native.Uint64(s)
		if f.kind == Dec && v>>32 == 0 {
			return appendValue(b, Unsigned, nil, v)
		}
	}
	return appendValue(b, f.kind, f.flags, v)
}
