package syscalls

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// traceMemory is guest memory that begins at address base.
type traceMemory []byte

const base = 0x1000

func (m traceMemory) CopyIn(addr uint64, dst []byte) (int, error) {
	if addr < base || addr-base >= uint64(len(m)) {
		return 0, unix.EFAULT
	}
	n := copy(dst, m[addr-base:])
	if n < len(dst) {
		return n, unix.EFAULT
	}
	return n, nil
}

// words makes memory of 64-bit words.
func words(w ...uint64) traceMemory {
	var m traceMemory
	for _, v := range w {
		m = binary.NativeEndian.AppendUint64(m, v)
	}
	return m
}

// utsname makes memory of struct utsname.
func utsname(names ...string) traceMemory {
	m := make(traceMemory, len(names)*utsLen)
	for i, name := range names {
		copy(m[i*utsLen:], name)
	}
	return m
}

func TestRenderArguments(t *testing.T) {
	openFlags := &FlagSet{
		Mask: 3, Values: []FlagName{{0, "O_RDONLY"}, {1, "O_WRONLY"}, {2, "O_RDWR"}},
		Names: []FlagName{{0x40, "O_CREAT"}, {0x101000, "O_SYNC"}, {0x1000, "O_DSYNC"}},
	}
	which := &FlagSet{Names: []FlagName{{0, "ZERO"}, {2, "TWO"}}}
	text := traceMemory("hello\n\x01\"\\\xff\x00rest of it, longer than what is shown by default\x00")
	tests := []struct {
		name   string
		mem    traceMemory
		param  Param
		args   kernel.Args
		result uintptr
		failed bool
		want   string
	}{
		{"int", nil, P("", Dec), kernel.Args{0xffffffff}, 0, false, "-1"},
		{"long", nil, P("", Dec), kernel.Args{^uint64(4)}, 0, false, "-5"},
		{"unsigned", nil, P("", Unsigned), kernel.Args{7}, 0, false, "7"},
		{"null", nil, P("", Addr), kernel.Args{}, 0, false, "NULL"},
		{"at fdcwd", nil, P("", DirFD), kernel.Args{0xffffff9c}, 0, false, "AT_FDCWD"},
		{"mode", nil, P("", Mode), kernel.Args{0o644}, 0, false, "0644"},
		{"flags", nil, PF("", Flags, openFlags), kernel.Args{0x41}, 0, false, "O_WRONLY|O_CREAT"},
		{"flags, several bits", nil, PF("", Flags, openFlags), kernel.Args{0x101002}, 0, false, "O_RDWR|O_SYNC"},
		{"flags, unknown bits", nil, PF("", Flags, openFlags), kernel.Args{0x40 | 1<<30}, 0, false, "O_RDONLY|O_CREAT|0x40000000"},
		{"flags, none", nil, PF("", Flags, which), kernel.Args{0}, 0, false, "0"},
		{"flags and permissions", nil, PF("", Flags, ipcFlags), kernel.Args{0o1600}, 0, false, "IPC_CREAT|0600"},
		{"enum", nil, PF("", Enum, which), kernel.Args{2}, 0, false, "TWO"},
		{"enum, zero", nil, PF("", Enum, which), kernel.Args{0}, 0, false, "ZERO"},
		{"enum, unknown", nil, PF("", Enum, which), kernel.Args{9}, 0, false, "0x9"},
		{"signal", nil, P("", Signal), kernel.Args{9}, 0, false, "SIGKILL"},
		{"real-time signal", nil, P("", Signal), kernel.Args{34}, 0, false, "SIGRT_2"},
		{"device", nil, P("", Dev), kernel.Args{0x103}, 0, false, "makedev(1, 3)"},
		{"policy", nil, PF("", Flags, policyModes), kernel.Args{0x8002}, 0, false, "MPOL_BIND|MPOL_F_STATIC_NODES"},
		{"clock", nil, P("", Clock), kernel.Args{1}, 0, false, "CLOCK_MONOTONIC"},
		{"path", text, P("", PathStr), kernel.Args{base}, 0, false, `"hello\n\x01\"\\\xff"`},
		{"string is cut", text[11:], P("", Str), kernel.Args{base}, 0, false, `"rest of it, longer than what is "...`},
		{"string that can't be read", text, P("", PathStr), kernel.Args{5}, 0, false, "0x5"},
		{"string without an end", traceMemory("abc"), P("", PathStr), kernel.Args{base}, 0, false, "0x1000"},
		{"buffer", text, P("", Buf), kernel.Args{base, 5}, 0, false, `"hello"`},
		{"buffer is cut", text[11:], P("", Buf), kernel.Args{base, 1 << 40}, 0, false, `"rest of it, longer than what is "...`},
		{"buffer written", text, P("", OutBuf), kernel.Args{base, 100}, 2, false, `"he"`},
		{"buffer of a call that failed", text, P("", OutBuf), kernel.Args{base, 100}, 0, true, "0x1000"},
		{"timespec", words(1, 5), P("", Timespec), kernel.Args{base}, 0, false, "{tv_sec=1, tv_nsec=5}"},
		{"itimerval", words(1, 2, 3, 4), P("", Itimerval), kernel.Args{base}, 0, false,
			"{it_interval={tv_sec=1, tv_usec=2}, it_value={tv_sec=3, tv_usec=4}}"},
		{"limit", words(5, ^uint64(0)), P("", RLimit), kernel.Args{base}, 0, false, "{rlim_cur=5, rlim_max=RLIM64_INFINITY}"},
		{"signal set", words(1<<1 | 1<<16), P("", SigSet), kernel.Args{base}, 0, false, "[INT CHLD]"},
		{"signal set, most", words(^uint64(1 << 8)), P("", SigSet), kernel.Args{base}, 0, false, "~[KILL]"},
		{"pair", traceMemory{3, 0, 0, 0, 4, 0, 0, 0}, P("", OutFDPair), kernel.Args{base}, 0, false, "[3, 4]"},
		{"vector", words(0x77, 5, 0, 0), P("", IOVec), kernel.Args{base, 2}, 0, false,
			"[{iov_base=0x77, iov_len=5}, {iov_base=NULL, iov_len=0}]"},
		{"vector with bytes", append(words(base+16, 2), "hello"...), P("", IOVec), kernel.Args{base, 1}, 0, false, `[{iov_base="he", iov_len=2}]`},
		{"vector that can't be read", words(1), P("", IOVec), kernel.Args{base, 1 << 60}, 0, false, "0x1000"},
		{"argv", append(words(base+16, 0), "sh\x00"...), P("", StrVec), kernel.Args{base}, 0, false, `["sh"]`},
		{"poll", traceMemory{3, 0, 0, 0, 1, 0, 1, 0}, P("", PollFDs), kernel.Args{base, 1}, 1, false,
			"[{fd=3, events=POLLIN, revents=POLLIN}]"},
		{"exited", words(3 << 8), P("", OutWaitStatus), kernel.Args{base}, 9, false, "[{WIFEXITED(s) && WEXITSTATUS(s) == 3}]"},
		{"killed", words(9), P("", OutWaitStatus), kernel.Args{base}, 9, false, "[{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}]"},
		{"stopped", words(19<<8 | 0x7f), P("", OutWaitStatus), kernel.Args{base}, 9, false, "[{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}]"},
		{"no child", words(9), P("", OutWaitStatus), kernel.Args{base}, 0, false, "0x1000"},
		{"action", words(1, abi.SA_RESTART, 0, 1), P("", Sigaction), kernel.Args{base}, 0, false, "{sa_handler=SIG_IGN, sa_mask=[HUP], sa_flags=SA_RESTART}"},
		{"clone3", words(unix.CLONE_VM, 0, 0, 0, 17, 0x10, 0, 0), P("", CloneArgs), kernel.Args{base}, 0, false, "{flags=SIGCHLD|CLONE_VM, stack=0x10}"},
		{"event", traceMemory("\x01\x00\x00\x80\x05\x00\x00\x00\x00\x00\x00\x00"), P("", EpollEvent), kernel.Args{base}, 0, false, "{events=EPOLLIN|EPOLLET, data=0x5}"},
		{"events", traceMemory("\x04\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00"), P("", OutEpollEvents), kernel.Args{base}, 1, false, "[{events=EPOLLOUT, data=0x5}]"},
		{"enumeration", nil, PF("", Enum, epollOps), kernel.Args{3}, 0, false, "EPOLL_CTL_MOD"},
		{"unix address", traceMemory("\x01\x00/run/s\x00"), P("", Sockaddr), kernel.Args{base, 9}, 0, false, `{sa_family=AF_UNIX, sun_path="/run/s"}`},
		{"abstract address", traceMemory("\x01\x00\x00ab"), P("", Sockaddr), kernel.Args{base, 5}, 0, false, `{sa_family=AF_UNIX, sun_path=@"ab"}`},
		{"IPv4", traceMemory{2, 0, 0, 80, 127, 0, 0, 1}, P("", Sockaddr), kernel.Args{base, 8}, 0, false, "{sa_family=AF_INET, addr=127.0.0.1:80}"},
		{"uname", utsname("Linux", "box", "6.1", "#1", "x86_64", "(none)"), P("", OutUtsname), kernel.Args{base}, 0, false,
			`{sysname="Linux", nodename="box", release="6.1", version="#1", machine="x86_64", ...}`},
		{"uname of a call that failed", nil, P("", OutUtsname), kernel.Args{base}, 0, true, "0x1000"},
		{"sysinfo", words(9, 0, 0, 0, 1<<30, 1<<20, 0, 0, 7, 6, 5, 0, 0, 1), P("", OutSysinfo), kernel.Args{base}, 0, false,
			"{uptime=9, totalram=1073741824, freeram=1048576, totalswap=7, freeswap=6, procs=5, mem_unit=1, ...}"},
		{"times", words(1, 2, 3, 4), P("", OutTms), kernel.Args{base}, 0, false, "{tms_utime=1, tms_stime=2, tms_cutime=3, tms_cstime=4}"},
		{"statfs", words(0xef53, 4096, 10, 5, 4, 100, 50, 0, 255, 4096, 0, 0, 0, 0, 0), P("", OutStatfs), kernel.Args{base}, 0, false,
			"{f_type=0xef53, f_bsize=4096, f_blocks=10, f_bfree=5, f_bavail=4, f_files=100, f_ffree=50, f_namelen=255, ...}"},
		{"usage", words(append([]uint64{1, 2, 3, 4, 5}, make([]uint64, 13)...)...), P("", OutRusage), kernel.Args{base}, 0, false,
			"{ru_utime={tv_sec=1, tv_usec=2}, ru_stime={tv_sec=3, tv_usec=4}, ru_maxrss=5, ...}"},
		{"usage of no child", words(make([]uint64, 18)...), P("", OutWaitRusage), kernel.Args{base}, 0, false, "0x1000"},
		{"access, exists", nil, PF("", Flags, accessNames), kernel.Args{0}, 0, false, "F_OK"},
		{"access", nil, PF("", Flags, accessNames), kernel.Args{5}, 0, false, "R_OK|X_OK"},
		{"statx mask", nil, PF("", Flags, statxMasks), kernel.Args{0x17ff}, 0, false, "STATX_BASIC_STATS|STATX_MNT_ID"},
		{"option", traceMemory{1, 0, 0, 0}, P("", Option), kernel.Args{base, 4}, 0, false, "[1]"},
		{"longer option", traceMemory("eth0\x00"), P("", Option), kernel.Args{base, 5}, 0, false, `"eth0\x00"`},
		{"option that can't be read", nil, P("", Option), kernel.Args{base, 4}, 0, false, "0x1000"},
		{"option got", traceMemory{4, 0, 0, 0, 7, 0, 0, 0}, P("", OutOption), kernel.Args{base + 4, base}, 0, false, "[7]"},
		{"option without a length", traceMemory{4}, P("", OutOption), kernel.Args{base, base}, 0, false, "0x1000"},
		{"short address", traceMemory{2}, P("", Sockaddr), kernel.Args{base, 1}, 0, false, "0x1000"},
	}
	for _, tt := range tests {
		g := guestView{from: tt.mem, max: DefaultTraceString, args: tt.args, result: tt.result, failed: tt.failed}
		var mem []byte
		if got := string(g.append(nil, &mem, tt.param, 0)); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// TestResolve checks what arguments are that others explain.
func TestResolve(t *testing.T) {
	const lock = "{l_type=F_WRLCK, l_whence=SEEK_SET, l_start=5, l_len=6"
	mem := append(words(1, 5, 6, 7, 0), "name\x00"...)
	const name = base + 40
	rows := New().Rows()
	for _, tt := range []struct {
		call   string
		args   kernel.Args
		result uintptr
		want   string // all arguments; those that are nothing are left out
	}{
		{"open", kernel.Args{name, unix.O_WRONLY, 0o600}, 3, `"name", O_WRONLY`},
		{"open", kernel.Args{name, unix.O_WRONLY | unix.O_CREAT, 0o600}, 3, `"name", O_WRONLY|O_CREAT, 0600`},
		{"openat", kernel.Args{^uint64(99), name, unix.O_TMPFILE | unix.O_RDWR, 0o600}, 3, `AT_FDCWD, "name", O_RDWR|O_TMPFILE, 0600`},
		{"getsockopt", kernel.Args{1, unix.SOL_SOCKET, unix.SO_REUSEADDR}, 0, "1, SOL_SOCKET, SO_REUSEADDR, NULL, NULL"},
		{"setsockopt", kernel.Args{1, unix.IPPROTO_TCP, unix.TCP_NODELAY, base, 4}, 0, "1, SOL_TCP, TCP_NODELAY, [1], 4"},
		{"setsockopt", kernel.Args{1, unix.IPPROTO_IP, 2}, 0, "1, SOL_IP, IP_TTL, NULL, 0"},
		{"fcntl", kernel.Args{1, unix.F_GETFD, 99}, 0, "1, F_GETFD"},
		{"fcntl", kernel.Args{1, unix.F_SETFD, 1}, 0, "1, F_SETFD, FD_CLOEXEC"},
		{"fcntl", kernel.Args{1, unix.F_SETLK, base}, 0, "1, F_SETLK, " + lock + "}"},
		{"fcntl", kernel.Args{1, unix.F_GETLK, base}, 0, "1, F_GETLK, " + lock + ", l_pid=7}"},
		{"ioctl", kernel.Args{1, unix.TIOCGWINSZ, base}, 0, "1, TIOCGWINSZ, {ws_row=1, ws_col=0, ws_xpixel=0, ws_ypixel=0}"},
		{"ioctl", kernel.Args{1, fioclex, 99}, 0, "1, FIOCLEX"},
		{"ioctl", kernel.Args{1, 0x1234, base}, 0, "1, 0x1234, 0x1000"},
		{"prctl", kernel.Args{unix.PR_SET_NAME, name}, 0, `PR_SET_NAME, "name"`},
		{"prctl", kernel.Args{unix.PR_SET_PDEATHSIG, 9}, 0, "PR_SET_PDEATHSIG, SIGKILL"},
		{"arch_prctl", kernel.Args{archGetFS, base}, 0, "ARCH_GET_FS, [0x1]"},
		{"arch_prctl", kernel.Args{archSetFS, base}, 0, "ARCH_SET_FS, 0x1000"},
		{"semctl", kernel.Args{1, 2, semSetval, 7}, 0, "1, 2, SETVAL, 7"},
		{"semctl", kernel.Args{1, 0, ipcRmid, 7}, 0, "1, 0, IPC_RMID"},
		{"semctl", kernel.Args{1, 0, semGetall, base}, 0, "1, 0, GETALL, 0x1000"},
		{"futex", kernel.Args{base, abi.FUTEX_WAKE | abi.FUTEX_PRIVATE_FLAG, 1, 99, 99, 99}, 1, "0x1000, FUTEX_WAKE|FUTEX_PRIVATE_FLAG, 1"},
		{"futex", kernel.Args{base, abi.FUTEX_WAIT, 1, base, 99, 99}, 0, "0x1000, FUTEX_WAIT, 1, {tv_sec=1, tv_nsec=5}"},
		{"futex", kernel.Args{base, abi.FUTEX_CMP_REQUEUE, 1, 2, base, 3}, 0, "0x1000, FUTEX_CMP_REQUEUE, 1, 2, 0x1000, 0x3"},
	} {
		row := rows[slices.IndexFunc(rows, func(r *Row) bool { return r.Name == tt.call })]
		g := guestView{from: traceMemory(mem), max: DefaultTraceString, args: tt.args, returned: true, result: tt.result}
		var scratch []byte
		var got []string
		for i, p := range row.Params {
			if s := g.append(nil, &scratch, p.resolve(tt.args), i); len(s) > 0 {
				got = append(got, string(s))
			}
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.call, s, tt.want)
		}
	}
}

func TestRenderErrors(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{unix.ENOENT, "-1 ENOENT (no such file or directory)"},
		{abi.ERESTARTSYS, "? ERESTARTSYS (to be restarted if SA_RESTART is set)"},
		{unix.Errno(999), "-1 errno 999 (errno 999)"},
		{errors.New("odd"), "? odd"},
	}
	for _, tt := range tests {
		if got := string(appendError(nil, tt.err)); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestJSONString(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"\"\\\n\t\x00\x7f", "\"\\\n\t\x00\x7f"},
		{"ü€😀\ufffd", "ü€😀\ufffd"},
		{"\xff\xfe", `\xff\xfe`},
		{"cut \xe2\x82", `cut \xe2\x82`},
	}
	for _, tt := range tests {
		var got string
		if err := json.Unmarshal(appendJSONString(nil, []byte(tt.in)), &got); err != nil {
			t.Errorf("%q: %v", tt.in, err)
		} else if got != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestJSONArguments(t *testing.T) {
	tests := []struct {
		kind       Kind
		text, want string
	}{
		{Dec, "-5", `"x":-5`},
		{Unsigned, "18446744073709551615", `"x":18446744073709551615`},
		{FD, "-1", `"x":-1`},
		{FD, "3</etc/x>", `"x":3,"x_path":"/etc/x"`},
		{FD, `3</a<b>\"\xc3\xbc>`, `"x":3,"x_path":"/a<b>\"ü"`},
		{DirFD, "AT_FDCWD", `"x":"AT_FDCWD"`},
		{DirFD, "4</>", `"x":4,"x_path":"/"`},
		{PathStr, `"/etc/x"`, `"x":"/etc/x"`},
		{PathStr, "NULL", `"x":null`},
		{PathStr, `"NULL"`, `"x":"NULL"`},
		{PathStr, "0x5", `"x":"0x5"`},
		{Str, `""`, `"x":""`},
		{Buf, `"a\n\t\r\"\\\x00\xff"...`, `"x":"a\u000a\u0009\u000d\"\\\u0000\\xff..."`},
		{Buf, `"\\x41"`, `"x":"\\x41"`},
		{OutBuf, "0x1000", `"x":"0x1000"`},
		{Flags, "O_RDONLY", `"x":"O_RDONLY"`},
		{StrVec, `["sh"]`, `"x":"[\"sh\"]"`},
	}
	for _, tt := range tests {
		var mem []byte
		if got := string(appendJSONArgument(nil, &mem, P("x", tt.kind), []byte(tt.text))); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

// FuzzRender renders hostile memory and pointers in all kinds.
func FuzzRender(f *testing.F) {
	f.Add([]byte("\x01\x00/run\x00"), uint64(base), uint64(3), uint8(Sockaddr))
	f.Add([]byte{1, 2, 3}, uint64(base+1), ^uint64(0), uint8(IOVec))
	f.Add([]byte("0123456789ab"), uint64(base), uint64(2), uint8(OutEpollEvents))
	f.Add(make([]byte, 64), uint64(base), uint64(1), uint8(OutMmsghdrs))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x18\x00\x04a\x00\x00\x00\x00"), uint64(base), uint64(24), uint8(OutDirents64))
	f.Add([]byte("x"), ^uint64(7), ^uint64(0), uint8(StrVec))
	f.Fuzz(func(t *testing.T, mem []byte, addr, length uint64, kind uint8) {
		args := kernel.Args{addr, length, length, length, length, length}
		k := Kind(kind % uint8(numKinds))
		for _, returned := range [...]bool{false, true} {
			g := guestView{from: traceMemory(mem), max: DefaultTraceString, args: args, returned: returned, result: uintptr(length)}
			var scratch []byte
			out := g.append(nil, &scratch, P("x", k), 0)
			if len(out) == 0 && k != None || len(out) > 64<<10 {
				t.Errorf("%d bytes", len(out))
			}
			if len(out) == 0 {
				continue
			}
			if line := appendJSONArgument([]byte{'{'}, &scratch, P("x", k), out); !json.Valid(append(line, '}')) {
				t.Errorf("not JSON: %s", line)
			}
		}
	})
}
