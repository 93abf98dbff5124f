package syscalls

import (
	"encoding/binary"
	"slices"
	"testing"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// pack makes memory of numbers of fixed size, strings and bytes.
func pack(values ...any) traceMemory {
	var m traceMemory
	for _, v := range values {
		switch v := v.(type) {
		case string:
			m = append(m, v...)
		default:
			var err error
			if m, err = binary.Append(m, native, v); err != nil {
				panic(err)
			}
		}
	}
	return m
}

// siginfo makes memory of siginfo_t.
func siginfo(signo unix.Signal, code int32, fields ...any) traceMemory {
	m := append(pack(int32(signo), int32(0), code, int32(0)), pack(fields...)...)
	return append(m, make([]byte, abi.SiginfoSize-len(m))...)
}

// message makes memory of struct msghdr with one range of bytes, a control
// message if there is one, and what follows.
func message(flags int32, bytes string, control traceMemory) traceMemory {
	const iov, data, size = base + sizeofMmsghdr, base + sizeofMmsghdr + sizeIovec, 16
	m := pack(uint64(0), uint64(0), uint64(iov), uint64(1), uint64(data+size), uint64(len(control)), flags, int32(0), uint32(len(bytes)), uint32(0))
	m = append(m, pack(uint64(data), uint64(size), bytes, make([]byte, size-len(bytes)))...)
	return append(m, control...)
}

// TestRenderStructs renders what pointers point to, before or after a call.
func TestRenderStructs(t *testing.T) {
	rights := pack(uint64(24), int32(unix.SOL_SOCKET), int32(unix.SCM_RIGHTS), int32(3), int32(4))
	creds := pack(uint64(28), int32(unix.SOL_SOCKET), int32(unix.SCM_CREDENTIALS), int32(7), uint32(8), uint32(9), int32(0))
	perm := []any{int32(5), uint32(1), uint32(2), uint32(1), uint32(2), uint32(0o600), uint64(0), uint64(0), uint64(0)}
	tests := []struct {
		name   string
		mem    traceMemory
		kind   Kind
		args   kernel.Args // the first stands for base, and the second is the count
		result uintptr
		before string // "" for kinds that are shown after the call only
		after  string // "" for kinds that are shown before the call only
	}{
		{"address", nil, Addr, kernel.Args{}, 0, "0x1000", ""},
		{"int", pack(int32(-5)), Int, kernel.Args{}, 0, "[-5]", ""},
		{"long", pack(int64(-5)), OutLong, kernel.Args{}, 0, "", "[-5]"},
		{"address written", pack(uint64(0x77)), OutAddr, kernel.Args{}, 0, "", "[0x77]"},
		{"offset", pack(int64(1 << 40)), InOutOff, kernel.Args{}, 0, "[1099511627776]", "[1099511627776]"},
		{"descriptor set", words(1<<3|1<<63, 1), InOutFDSet, kernel.Args{0, 65}, 0, "[3 63 64]", "[3 63 64]"},
		{"descriptor set of fewer", words(1<<3 | 1<<63), InOutFDSet, kernel.Args{0, 63}, 0, "[3]", "[3]"},
		{"descriptor set of none", nil, InOutFDSet, kernel.Args{0, 0xffffffff}, 0, "[]", "[]"},
		{"descriptor set that can't be read", words(1), InOutFDSet, kernel.Args{0, 65}, 0, "0x1000", "0x1000"},
		{"set of many", words(^uint64(0)), CPUSet, kernel.Args{0, 8}, 0,
			"[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 ...]", ""},
		{"CPUs got", words(3), OutCPUSet, kernel.Args{0, 128}, 8, "", "[0 1]"},
		{"nodes", words(5), NodeSet, kernel.Args{0, 3}, 0, "[0]", ""},
		{"nodes of none", words(5), NodeSet, kernel.Args{}, 0, "[]", ""},
		{"vector read", append(words(base+32, 4, base+32, 9), "abcdef"...), OutIOVec, kernel.Args{0, 2}, 6, "",
			`[{iov_base="abcd", iov_len=4}, {iov_base="ab", iov_len=9}]`},
		{"vector partly read", append(words(base+32, 4, base+36, 9), "abcdef"...), OutIOVec, kernel.Args{0, 2}, 3, "",
			`[{iov_base="abc", iov_len=4}, {iov_base=0x1024, iov_len=9}]`},
		{"vector without bytes", words(base, 4), RangeVec, kernel.Args{0, 1}, 0, `[{iov_base=0x1000, iov_len=4}]`, ""},
		{"message", message(99, "hello", rights), Msghdr, kernel.Args{}, 0,
			`{msg_iov=[{iov_base="hello` + `\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", iov_len=16}], ` +
				`msg_control=[{cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[3, 4]}]}`, ""},
		{"message received", message(unix.MSG_CTRUNC, "hello", creds), OutMsghdr, kernel.Args{}, 5, "",
			`{msg_iov=[{iov_base="hello", iov_len=16}], msg_control=[{cmsg_level=SOL_SOCKET, cmsg_type=SCM_CREDENTIALS, ` +
				`cmsg_data={pid=7, uid=8, gid=9}}], msg_flags=MSG_CTRUNC}`},
		{"message with bad control", message(0, "", pack(uint64(99), uint64(0))), OutMsghdr, kernel.Args{}, 0, "",
			"{msg_iov=[{iov_base=0x1050, iov_len=16}], msg_control=0x1060}"},
		{"message that can't be read", words(0), Msghdr, kernel.Args{}, 0, "0x1000", ""},
		{"messages", message(0, "hello", nil), Mmsghdrs, kernel.Args{0, 1}, 0,
			`[{msg_hdr={msg_iov=[{iov_base="hello\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", iov_len=16}]}}]`, ""},
		{"messages received", message(0, "hello", nil), OutMmsghdrs, kernel.Args{0, 9}, 1, "",
			`[{msg_hdr={msg_iov=[{iov_base="hello", iov_len=16}]}, msg_len=5}]`},
		{"child ended", siginfo(unix.SIGCHLD, 1, int32(5), uint32(6), int32(7)), OutSiginfo, kernel.Args{}, 0, "",
			"{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=5, si_uid=6, si_status=7}"},
		{"child killed", siginfo(unix.SIGCHLD, 2, int32(5), uint32(6), int32(9)), OutSiginfo, kernel.Args{}, 0, "",
			"{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=5, si_uid=6, si_status=SIGKILL}"},
		{"no child", siginfo(0, 0), OutSiginfo, kernel.Args{}, 0, "", "{}"},
		{"queued", siginfo(unix.SIGUSR1, abi.SI_QUEUE, int32(5), uint32(6), uint64(7)), Siginfo, kernel.Args{}, 0,
			"{si_signo=SIGUSR1, si_code=SI_QUEUE, si_pid=5, si_uid=6, si_value=0x7}", ""},
		{"timer", siginfo(unix.SIGALRM, abi.SI_TIMER, int32(5), int32(6), uint64(7)), Siginfo, kernel.Args{}, 0,
			"{si_signo=SIGALRM, si_code=SI_TIMER, si_timerid=5, si_overrun=6, si_value=0x7}", ""},
		{"fault", siginfo(unix.SIGSEGV, 1, uint64(0x55)), Siginfo, kernel.Args{}, 0, "{si_signo=SIGSEGV, si_code=0x1, si_addr=0x55}", ""},
		{"stack", pack(uint64(0x5000), int32(abi.SS_ONSTACK), int32(0), uint64(8192)), SigStack, kernel.Args{}, 0,
			"{ss_sp=0x5000, ss_flags=SS_ONSTACK, ss_size=8192}", ""},
		{"event", pack(uint64(5), int32(unix.SIGUSR1), int32(kernel.SigevSignal), int32(9)), Sigevent, kernel.Args{}, 0,
			"{sigev_value=0x5, sigev_signo=SIGUSR1, sigev_notify=SIGEV_SIGNAL}", ""},
		{"event of a thread", pack(uint64(5), int32(unix.SIGUSR1), int32(kernel.SigevThreadID), int32(9)), Sigevent, kernel.Args{}, 0,
			"{sigev_value=0x5, sigev_signo=SIGUSR1, sigev_notify=SIGEV_THREAD_ID, sigev_notify_thread_id=9}", ""},
		{"mask of pselect6", words(base+16, 8, 1<<16), SigSetArg, kernel.Args{}, 0, "{sigmask=[CHLD], sigsetsize=8}", ""},
		{"no mask of pselect6", words(0, 8), SigSetArg, kernel.Args{}, 0, "{sigmask=NULL, sigsetsize=8}", ""},
		{"file times", words(1, 2, 0, unix.UTIME_OMIT), Timespecs, kernel.Args{}, 0, "[{tv_sec=1, tv_nsec=2}, UTIME_OMIT]", ""},
		{"file times, now", words(9, unix.UTIME_NOW, 1, 2), Timespecs, kernel.Args{}, 0, "[UTIME_NOW, {tv_sec=1, tv_nsec=2}]", ""},
		{"file times, utimes", words(1, 2, 3, 4), Timevals, kernel.Args{}, 0, "[{tv_sec=1, tv_usec=2}, {tv_sec=3, tv_usec=4}]", ""},
		{"file times, utime", words(1, 2), Utimbuf, kernel.Args{}, 0, "{actime=1, modtime=2}", ""},
		{"zone", pack(int32(-60), int32(0)), OutTimezone, kernel.Args{}, 0, "", "{tz_minuteswest=-60, tz_dsttime=0}"},
		{"clock, read", append(words(0, 2), make([]byte, 192)...), InOutTimex, kernel.Args{}, 0, "{modes=0}",
			"{modes=0, offset=2, freq=0, maxerror=0, esterror=0, status=0, constant=0, precision=0, tolerance=0, time={tv_sec=0, tv_usec=0}, ...}"},
		{"clock, changed", append(words(unix.ADJ_OFFSET, ^uint64(1)), make([]byte, 192)...), InOutTimex, kernel.Args{}, 0,
			"{modes=ADJ_OFFSET, offset=-2, freq=0, maxerror=0, esterror=0, status=0, constant=0, precision=0, tolerance=0, time={tv_sec=0, tv_usec=0}, ...}",
			"{modes=ADJ_OFFSET, offset=-2, freq=0, maxerror=0, esterror=0, status=0, constant=0, precision=0, tolerance=0, time={tv_sec=0, tv_usec=0}, ...}"},
		{"how to open", words(unix.O_RDWR, 0o600, unix.RESOLVE_BENEATH), OpenHow, kernel.Args{}, 0, "{flags=O_RDWR, mode=0600, resolve=RESOLVE_BENEATH}", ""},
		{"groups", pack(uint32(1), uint32(1<<31)), IDs, kernel.Args{0, 2}, 0, "[1, 2147483648]", ""},
		{"groups got", pack(uint32(1), uint32(2)), OutIDs, kernel.Args{0, 9}, 2, "", "[1, 2]"},
		{"capabilities' header", pack(uint32(capVersion3), int32(5)), CapHeader, kernel.Args{}, 0, "{version=_LINUX_CAPABILITY_VERSION_3, pid=5}", ""},
		{"capabilities", pack(uint32(1), uint32(2), uint32(3), uint32(1), uint32(0), uint32(0), uint32(capVersion3)), CapData, kernel.Args{0, base + 24}, 0,
			"{effective=0x100000001, permitted=0x2, inheritable=0x3}", ""},
		{"capabilities of a bad version", pack(make([]byte, 24), uint32(7)), CapData, kernel.Args{0, base + 24}, 0, "0x1000", ""},
		{"scheduling", pack(uint32(48), uint32(unix.SCHED_FIFO), uint64(1), int32(-3), uint32(4), uint64(5), uint64(6), uint64(7)), SchedAttr, kernel.Args{}, 0,
			"{size=48, sched_policy=SCHED_FIFO, sched_flags=SCHED_FLAG_RESET_ON_FORK, sched_nice=-3, sched_priority=4, sched_runtime=5, sched_deadline=6, sched_period=7}", ""},
		{"robust list", words(base, ^uint64(31), 0), RobustList, kernel.Args{}, 0, "{list=0x1000, futex_offset=-32, list_op_pending=NULL}", ""},
		{"sequences", pack(uint32(0), int32(-1), uint64(0), uint32(0), make([]byte, 12)), Rseq, kernel.Args{}, 0,
			"{cpu_id_start=0, cpu_id=-1, rseq_cs=NULL, flags=0x0, ...}", ""},
		{"futexes", pack(uint64(5), uint64(base), uint64(0x82)), FutexWaiters, kernel.Args{0, 1}, 0, "[{val=0x5, uaddr=0x1000, flags=FUTEX2_SIZE_U32|FUTEX2_PRIVATE}]", ""},
		{"two futexes, one there", words(5, base, 0), FutexPair, kernel.Args{}, 0, "0x1000", ""},
		{"semaphore operations", pack(uint16(40000), int16(-1), int16(0o4000)), SemOps, kernel.Args{0, 1}, 0,
			"[{sem_num=40000, sem_op=-1, sem_flg=IPC_NOWAIT}]", ""},
		{"semaphore set", pack(append(slices.Clone(perm), make([]byte, 32), uint64(3))...), OutSemDS, kernel.Args{}, 0, "",
			"{key=0x5, uid=1, gid=2, mode=0600, sem_otime=0, sem_nsems=3, ...}"},
		{"message queue", pack(append(slices.Clone(perm), make([]byte, 72))...), OutMsgDS, kernel.Args{}, 0, "",
			"{key=0x5, uid=1, gid=2, mode=0600, msg_cbytes=0, msg_qnum=0, msg_qbytes=0, msg_lspid=0, msg_lrpid=0, ...}"},
		{"segment", pack(append(slices.Clone(perm), uint64(4096), make([]byte, 40))...), OutShmDS, kernel.Args{}, 0, "",
			"{key=0x5, uid=1, gid=2, mode=0600, shm_segsz=4096, shm_cpid=0, shm_lpid=0, shm_nattch=0, ...}"},
		{"message to send", pack(int64(3), "text"), MsgBuf, kernel.Args{0, 4}, 0, `{mtype=3, mtext="text"}`, ""},
		{"message got", pack(int64(3), "text"), OutMsgBuf, kernel.Args{0, 100}, 2, "", `{mtype=3, mtext="te"}`},
		{"queue", pack(int64(unix.O_NONBLOCK), int64(10), int64(8192), int64(1), make([]byte, 32)), OutMqAttr, kernel.Args{}, 0, "",
			"{mq_flags=O_NONBLOCK, mq_maxmsg=10, mq_msgsize=8192, mq_curmsgs=1}"},
		{"pages", traceMemory{1, 0}, OutPages, kernel.Args{0, 4097}, 0, "", "[1, 0]"},
		{"entries", pack(uint64(5), int64(1), uint16(24), uint8(unix.DT_DIR), "..\x00\x00\x00", uint64(6), int64(2), uint16(24), uint8(unix.DT_REG), "a\x00\x00\x00\x00"),
			OutDirents64, kernel.Args{}, 48, "", `[{d_ino=5, d_type=DT_DIR, d_name=".."}, {d_ino=6, d_type=DT_REG, d_name="a"}]`},
		{"no entries", nil, OutDirents64, kernel.Args{}, 0, "", "[]"},
		{"entry of a bad size", pack(uint64(5), int64(1), uint16(99), "......"), OutDirents64, kernel.Args{}, 24, "", "[...]"},
		{"old entry", pack(uint64(5), int64(1), uint16(24), "ab\x00\x00\x00", uint8(unix.DT_LNK)), OutDirents, kernel.Args{}, 24, "",
			`[{d_ino=5, d_type=DT_LNK, d_name="ab"}]`},
		{"window", pack(uint16(24), uint16(80), uint16(0), uint16(65535)), OutWinsize, kernel.Args{}, 0, "", "{ws_row=24, ws_col=80, ws_xpixel=0, ws_ypixel=65535}"},
		{"terminal", pack(uint32(unix.ICRNL), uint32(unix.OPOST), uint32(0xbf), uint32(unix.ECHO|unix.ICANON), make([]byte, 20)), Termios, kernel.Args{}, 0,
			"{c_iflag=ICRNL, c_oflag=OPOST, c_cflag=0xbf, c_lflag=ICANON|ECHO, ...}", ""},
		{"filter", pack(uint16(3), make([]byte, 6), uint64(base)), SockFprog, kernel.Args{}, 0, "{len=3, filter=0x1000}", ""},
		{"clone3, newer", append(words(0, 0, 0, 0, 17, 0, 0, 0), words(0x77, 1)...), CloneArgs, kernel.Args{0, 80}, 0, "{flags=SIGCHLD, set_tid=0x77, set_tid_size=0x1}", ""},
	}
	for _, tt := range tests {
		tt.args[0] = base
		for _, g := range []guestView{{}, {returned: true, result: tt.result}} {
			want := tt.before
			if g.returned {
				want = tt.after
			}
			if shown := g.returned && (tt.kind.isOut() || tt.kind.isInOut()) || !g.returned && !tt.kind.isOut(); !shown {
				if want != "" {
					t.Errorf("%s: kind is not shown when the test says", tt.name)
				}
				continue
			}
			g.from, g.max, g.args = tt.mem, DefaultTraceString, tt.args
			var mem []byte
			if got := string(g.append(nil, &mem, P("", tt.kind), 0)); got != want {
				t.Errorf("%s, returned %v:\n got %s\nwant %s", tt.name, g.returned, got, want)
			}
		}
	}
}

// TestKinds checks that each kind of pointer has a way in which it is
// rendered, and but one.
func TestKinds(t *testing.T) {
	for k := firstPointer; k < numKinds; k++ {
		_, fixed := layouts()[k]
		if variable := pointers()[k] != nil; fixed == variable && k != Addr {
			t.Errorf("kind %d: in layouts: %v, in pointers: %v", k, fixed, variable)
		}
	}
	for k, l := range layouts() {
		if l.size == 0 || (l.fields == nil) == (l.render == nil) {
			t.Errorf("kind %d: layout %+v", k, l)
		}
		for _, f := range l.fields {
			if !slices.Contains([]int{1, 2, 4, 8}, f.size) || f.offset+f.size > l.size || f.kind.isPointer() && f.kind != Addr {
				t.Errorf("kind %d: field %+v of %d bytes", k, f, l.size)
			}
		}
	}
}

// TestAddresses keeps rows from showing as an address what a call reads or
// writes: only these are just addresses.
func TestAddresses(t *testing.T) {
	addresses := map[string][]string{
		"mmap": {"addr"}, "mprotect": {"addr"}, "munmap": {"addr"}, "brk": {"addr"}, "madvise": {"addr"}, "mseal": {"addr"}, "msync": {"addr"},
		"mincore": {"addr"}, "remap_file_pages": {"addr"}, "mremap": {"old_address", "new_address"},
		"mlock": {"addr"}, "munlock": {"addr"}, "mlock2": {"addr"}, "pkey_mprotect": {"addr"},
		"mbind": {"addr"}, "get_mempolicy": {"addr"}, "set_mempolicy_home_node": {"start"},
		"shmat": {"shmaddr"}, "shmdt": {"shmaddr"},
		"clone": {"stack", "child_tid", "tls"}, "set_tid_address": {"tidptr"},
		"futex": {"uaddr"}, "futex_wake": {"uaddr"}, "futex_wait": {"uaddr"},
		"reboot": {"arg"}, "kexec_load": {"entry", "segments"}, // never looked at
	}
	for _, r := range New().Rows() {
		for _, p := range r.Params {
			if p.Depends == nil && p.Kind == Addr && r.Support != Missing && !slices.Contains(addresses[r.Name], p.Name) {
				t.Errorf("%s shows %s as an address", r.Name, p.Name)
			}
		}
	}
}
