package kernel

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// corePattern is where core dumps go: /proc/sys/kernel/core_pattern and
// core_uses_pid.
type corePattern struct {
	mu      sync.Mutex
	pattern string
	usesPID bool
}

// defaultCorePattern is Linux's.
const defaultCorePattern = "core"

// maxCorePattern is the longest pattern (CORENAME_MAX_SIZE, with its end).
const maxCorePattern = 127

// CorePattern is the pattern of names of core dumps (core(5)), and whether the
// number of the process is added to a name that does not have it.
func (k *Kernel) CorePattern() (pattern string, usesPID bool) {
	k.core.mu.Lock()
	defer k.core.mu.Unlock()
	return k.core.pattern, k.core.usesPID
}

// SetCorePattern sets the pattern, which is cut off at its greatest length, and
// SetCoreUsesPID the other.
func (k *Kernel) SetCorePattern(s string) {
	k.core.mu.Lock()
	defer k.core.mu.Unlock()
	k.core.pattern = s[:min(len(s), maxCorePattern)]
}

func (k *Kernel) SetCoreUsesPID(yes bool) {
	k.core.mu.Lock()
	defer k.core.mu.Unlock()
	k.core.usesPID = yes
}

// coreName is the name of the core dump that the task's process is to leave
// because of a signal; "" for none. A pattern that begins with | or @ names a
// program or a socket on Linux: there are none here.
func (t *Task) coreName(sig int32, limit uint64) string {
	pattern, usesPID := t.k.CorePattern()
	if pattern == "" && !usesPID || strings.HasPrefix(pattern, "|") || strings.HasPrefix(pattern, "@") {
		return ""
	}
	c := t.Credentials()
	here := t.PIDs()
	hasPID := false
	var b strings.Builder
	number := func(n int64) { b.WriteString(strconv.FormatInt(n, 10)) }
	file := func(s string) { b.WriteString(strings.ReplaceAll(s, "/", "!")) }
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			b.WriteByte(pattern[i])
			continue
		}
		if i++; i == len(pattern) {
			break
		}
		switch pattern[i] {
		case '%':
			b.WriteByte('%')
		case 'p':
			hasPID = true
			number(int64(t.group.IDIn(here)))
		case 'P':
			hasPID = true
			number(int64(t.FirstPID()))
		case 'i':
			number(int64(t.TIDIn(here)))
		case 'I':
			number(int64(t.TIDIn(t.k.pids)))
		case 'u':
			number(int64(c.RUID))
		case 'g':
			number(int64(c.RGID))
		case 'd':
			number(int64(t.mem.Dumpable()))
		case 's':
			number(int64(sig))
		case 't':
			number(time.Now().Unix())
		case 'c':
			b.WriteString(strconv.FormatUint(limit, 10))
		case 'h':
			file(t.UTS().Hostname())
		case 'e', 'f':
			file(t.Comm())
		case 'E':
			file(t.exeName())
		}
	}
	if usesPID && !hasPID {
		b.WriteByte('.')
		number(int64(t.group.IDIn(here)))
	}
	name := b.String()
	return name[:min(len(name), unix.PathMax-1)]
}

// exeName is the path of the program that the task runs.
func (t *Task) exeName() string {
	exe := t.mem.Exe()
	if exe == nil {
		return t.Comm() + " (path unknown)"
	}
	defer exe.DecRef()
	return t.fileName(exe)
}
