package profile

import (
	"coffer/internal/seccomp/sysno"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// action is one of the spec's actions.
type action struct {
	name specs.LinuxSeccompAction
	ret  uint32 // SECCOMP_RET_*
	// data is set if the verdict carries errnoRet, of at most max.
	data bool
	max  uint
}

// maxErrno is the highest error number that a system call can return
// (MAX_ERRNO of the kernel's linux/err.h).
const maxErrno = 4095

var actions = [...]action{
	{name: specs.ActAllow, ret: unix.SECCOMP_RET_ALLOW},
	{name: specs.ActErrno, ret: unix.SECCOMP_RET_ERRNO, data: true, max: maxErrno},
	{name: specs.ActKill, ret: unix.SECCOMP_RET_KILL_THREAD},
	{name: specs.ActKillProcess, ret: unix.SECCOMP_RET_KILL_PROCESS},
	{name: specs.ActKillThread, ret: unix.SECCOMP_RET_KILL_THREAD},
	{name: specs.ActLog, ret: unix.SECCOMP_RET_LOG},
	{name: specs.ActNotify, ret: unix.SECCOMP_RET_USER_NOTIF},
	{name: specs.ActTrace, ret: unix.SECCOMP_RET_TRACE, data: true, max: unix.SECCOMP_RET_DATA},
	{name: specs.ActTrap, ret: unix.SECCOMP_RET_TRAP},
}

// operators are the spec's, and how they are compiled.
var operators = [...]struct {
	name specs.LinuxSeccompOperator
	op   operator
}{
	{specs.OpNotEqual, notEqual},
	{specs.OpLessThan, lessThan},
	{specs.OpLessEqual, lessEqual},
	{specs.OpEqualTo, equal},
	{specs.OpGreaterEqual, greaterEqual},
	{specs.OpGreaterThan, greaterThan},
	{specs.OpMaskedEqual, maskedEqual},
}

// architectures are those with tables of calls.
var architectures = [...]struct {
	name specs.Arch
	arch sysno.Arch
}{
	{specs.ArchX86, sysno.X86},
	{specs.ArchX86_64, sysno.AMD64},
	{specs.ArchX32, sysno.X32},
	{specs.ArchAARCH64, sysno.ARM64},
}

// foreign are the spec's other architectures. No program of theirs runs on a
// host of ours, so there is nothing to compile for them.
var foreign = [...]specs.Arch{
	specs.ArchARM, specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32,
	specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchPPC,
	specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X,
	specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64,
	specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

// flagTSync is not among the spec's constants any more, but in profiles.
const flagTSync specs.LinuxSeccompFlag = "SECCOMP_FILTER_FLAG_TSYNC"

var flags = [...]struct {
	name specs.LinuxSeccompFlag
	flag uint
}{
	{flagTSync, unix.SECCOMP_FILTER_FLAG_TSYNC},
	{specs.LinuxSeccompFlagLog, unix.SECCOMP_FILTER_FLAG_LOG},
	{specs.LinuxSeccompFlagSpecAllow, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	{specs.LinuxSeccompFlagWaitKillableRecv, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
}

func actionNames() []string {
	names := make([]string, len(actions))
	for i, a := range actions {
		names[i] = string(a.name)
	}
	return names
}

func operatorNames() []string {
	names := make([]string, len(operators))
	for i, o := range operators {
		names[i] = string(o.name)
	}
	return names
}

func flagNames() []string {
	names := make([]string, len(flags))
	for i, f := range flags {
		names[i] = string(f.name)
	}
	return names
}

// multiplexed are calls that x86 programs make through another one, with their
// number as its first argument (include/uapi/linux/net.h and ipc.h).
var multiplexed = map[string]struct {
	through string
	number  uint32
}{
	"socket":      {"socketcall", 1},
	"bind":        {"socketcall", 2},
	"connect":     {"socketcall", 3},
	"listen":      {"socketcall", 4},
	"accept":      {"socketcall", 5},
	"getsockname": {"socketcall", 6},
	"getpeername": {"socketcall", 7},
	"socketpair":  {"socketcall", 8},
	"send":        {"socketcall", 9},
	"recv":        {"socketcall", 10},
	"sendto":      {"socketcall", 11},
	"recvfrom":    {"socketcall", 12},
	"shutdown":    {"socketcall", 13},
	"setsockopt":  {"socketcall", 14},
	"getsockopt":  {"socketcall", 15},
	"sendmsg":     {"socketcall", 16},
	"recvmsg":     {"socketcall", 17},
	"accept4":     {"socketcall", 18},
	"recvmmsg":    {"socketcall", 19},
	"sendmmsg":    {"socketcall", 20},
	"semop":       {"ipc", 1},
	"semget":      {"ipc", 2},
	"semctl":      {"ipc", 3},
	"semtimedop":  {"ipc", 4},
	"msgsnd":      {"ipc", 11},
	"msgrcv":      {"ipc", 12},
	"msgget":      {"ipc", 13},
	"msgctl":      {"ipc", 14},
	"shmat":       {"ipc", 21},
	"shmdt":       {"ipc", 22},
	"shmget":      {"ipc", 23},
	"shmctl":      {"ipc", 24},
}
