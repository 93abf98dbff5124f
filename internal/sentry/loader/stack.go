package loader

import (
	"crypto/rand"
	"encoding/binary"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Limits on execve(2)'s strings; see "Limits on size of arguments and
// environment" there.
const (
	// MaxStringSize is how long one string may be, with its NUL.
	MaxStringSize = 32 * pageSize
	minArgs       = 32 * pageSize
	maxArgs       = 6 << 20
)

// argLimit is how many bytes the strings of argv and envp, with a pointer for
// each, may take under a soft RLIMIT_STACK.
func argLimit(stackLimit uint64) uint64 { return max(min(stackLimit/4, maxArgs), minArgs) }

// checkSize returns E2BIG if the strings are too many or too long.
func checkSize(argv, envv []string, name string, stackLimit uint64) error {
	total := uint64(len(name)+1) + 8*uint64(len(argv)+len(envv))
	for _, list := range [...][]string{argv, envv} {
		for _, s := range list {
			if len(s) >= MaxStringSize {
				return unix.E2BIG
			}
			total += uint64(len(s) + 1)
		}
	}
	if total > argLimit(stackLimit) {
		return unix.E2BIG
	}
	return nil
}

// stackTail is the upper part of a new stack: the strings, written downwards.
type stackTail struct {
	top uint64
	buf []byte // the bytes up to top, in reverse order of writing
	at  int    // buf[at:] is written
}

// newStackTail returns a tail of at most size bytes below top.
func newStackTail(top uint64, size int) *stackTail {
	return &stackTail{top: top, buf: make([]byte, size), at: size}
}

// sp is the address of what was written last.
func (s *stackTail) sp() uint64 { return s.top - uint64(len(s.buf)-s.at) }

// skip moves down by n bytes, which stay zero.
func (s *stackTail) skip(n uint64) { s.at -= int(n) }

// align moves down to a multiple of n.
func (s *stackTail) align(n uint64) { s.skip(s.sp() % n) }

// push writes bytes and returns their address.
func (s *stackTail) push(b []byte) uint64 {
	s.at -= len(b)
	copy(s.buf[s.at:], b)
	return s.sp()
}

// pushString writes a string and its NUL.
func (s *stackTail) pushString(str string) uint64 {
	s.at -= len(str) + 1
	copy(s.buf[s.at:], str)
	return s.sp()
}

// pushStrings writes a list so that the first has the lowest address.
func (s *stackTail) pushStrings(list []string) []uint64 {
	addrs := make([]uint64, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		addrs[i] = s.pushString(list[i])
	}
	return addrs
}

// pushWords writes 64-bit words so that the first has the lowest address.
func (s *stackTail) pushWords(words []uint64) uint64 {
	s.at -= 8 * len(words)
	for i, w := range words {
		binary.LittleEndian.PutUint64(s.buf[s.at+8*i:], w)
	}
	return s.sp()
}

// stackJitter bounds the random distance between strings and vectors.
const stackJitter = 8192

// stack builds the initial stack of the System V ABI for amd64 (process
// initialization) and returns the stack pointer. All that was queued before is
// done with it, in one batch.
func (l *load) stack(id Identity) (uint64, error) {
	a := &l.image.args
	argv := l.image.argv
	size := 8 + len(a.Name) + 1 + stackJitter + 8*(len(argv)+len(a.Envv)+3) + auxSize + 256
	for _, list := range [...][]string{argv, a.Envv} {
		for _, s := range list {
			size += len(s) + 1
		}
	}
	s := newStackTail(l.m.StackTop(), size)
	s.skip(8)
	execfn := s.pushString(a.Name)
	envEnd := execfn
	env := s.pushStrings(a.Envv)
	envStart := s.sp()
	args := s.pushStrings(argv)
	argStart := s.sp()

	var seed [18]byte
	rand.Read(seed[:])
	if l.m.Randomized() {
		s.skip(uint64(binary.LittleEndian.Uint16(seed[16:])) % stackJitter)
	}
	s.align(16)
	machine := s.pushString("x86_64")
	random := s.push(seed[:16])

	aux := l.auxv(id, auxPointers{execfn: execfn, platform: machine, random: random})
	words := make([]uint64, 0, 3+len(args)+len(env)+len(aux))
	words = append(words, uint64(len(args)))
	words = append(append(words, args...), 0)
	words = append(append(words, env...), 0)
	words = append(words, aux...)
	s.align(16)
	if len(words)%2 != 0 {
		s.skip(8)
	}
	sp := s.pushWords(words)

	if err := l.mapStack(sp); err != nil {
		return 0, err
	}
	var page [pageSize]byte
	for _, z := range l.zeros {
		l.write(z.addr, page[:z.length])
	}
	l.write(sp, s.buf[s.at:])
	if err := l.ctx.Flush(); err != nil {
		return 0, l.m.OpFailed(l.ctx, err)
	}
	l.m.UpdateInfo(func(i *mm.Info) {
		i.StartStack = sp
		i.ArgStart, i.ArgEnd = argStart, envStart
		i.EnvStart, i.EnvEnd = envStart, envEnd
		i.Auxv = wordBytes(aux)
	})
	return sp, nil
}

// write queues the writing of guest memory behind its mapping.
func (l *load) write(addr uint64, b []byte) {
	for len(b) > 0 {
		n := min(len(b), platform.WriteMax)
		l.ctx.Queue(platform.Op{Kind: platform.OpWrite, Addr: addr, Data: string(b[:n])})
		addr, b = addr+uint64(n), b[n:]
	}
}

// mapStack maps the stack from its top to somewhere below sp.
func (l *load) mapStack(sp uint64) error {
	top := l.m.StackTop()
	used := (top - sp + pageMask) &^ pageMask
	size := max(used, min(used+mm.MainStackSize, l.image.args.Limits.Limit(unix.RLIMIT_STACK)&^pageMask))
	prot := int32(unix.PROT_READ | unix.PROT_WRITE)
	if l.image.elf.execStack {
		prot |= unix.PROT_EXEC
	}
	_, err := l.m.MMap(l.ctx, mm.MMapArgs{
		Addr: top - size, Length: size, Prot: prot,
		Flags: unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE | unix.MAP_GROWSDOWN | unix.MAP_STACK,
	})
	if err == unix.EEXIST {
		return unix.ENOMEM // the program's own segments are there
	}
	return err
}

func wordBytes(words []uint64) []byte {
	b := make([]byte, 0, 8*len(words))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}
