// The stub's code. It is copied from the sentry's text to the top of each
// stub's address space, as one piece from ·stubText to ·stubTextEnd, so it is
// position-independent: symbols are reached relative to the instruction
// pointer only, and nothing here uses Go's runtime or a Go stack.
//
// BX is the slot throughout. The guest's floating-point registers stay in the
// CPU all the time, so nothing here may touch them.

#include "textflag.h"
#include "go_asm.h"

// Offsets in the host's struct rt_sigframe's ucontext.
#define UC_R8 40
#define UC_R9 48
#define UC_R10 56
#define UC_R11 64
#define UC_R12 72
#define UC_R13 80
#define UC_R14 88
#define UC_R15 96
#define UC_DI 104
#define UC_SI 112
#define UC_BP 120
#define UC_BX 128
#define UC_DX 136
#define UC_AX 144
#define UC_CX 152
#define UC_SP 160
#define UC_IP 168
#define UC_FLAGS 176
#define UC_CS 184
#define UC_SS 190
#define UC_ERR 192
#define UC_TRAPNO 200
#define UC_FPSTATE 224

// Offsets in user_regs_struct.
#define R_R15 0
#define R_R14 8
#define R_R13 16
#define R_R12 24
#define R_BP 32
#define R_BX 40
#define R_R11 48
#define R_R10 56
#define R_R9 64
#define R_R8 72
#define R_AX 80
#define R_CX 88
#define R_DX 96
#define R_SI 104
#define R_DI 112
#define R_ORIG 120
#define R_IP 128
#define R_CS 136
#define R_FLAGS 144
#define R_SP 152
#define R_SS 160
#define R_FS 168
#define R_GS 176

// GOTO jumps to another piece. A direct jump would have the linker compute
// the Go stack that a cycle of jumps needs.
#define GOTO(piece) LEAQ piece(SB), R11; JMP R11

// CPU gets the number of the processor, which Linux keeps as the limit of a
// segment for this purpose.
#define CPU(reg) MOVL $const_stubAnywhere, reg; MOVL $0x7b, AX; LSLL AX, reg

#define STACK_TOP (const_SlotSize-64)

#define SYS_close 3
#define SYS_mmap 9
#define SYS_madvise 28
#define SYS_dup2 33
#define SYS_recvmsg 47
#define SYS_clone 56
#define SYS_readlink 89
#define SYS_getppid 110
#define SYS_sigaltstack 131
#define SYS_prctl 157
#define SYS_futex 202
#define SYS_exit_group 231
#define SYS_close_range 436

// stubText ends the process. It is where everything goes that cannot happen
// unless the guest tampered with its stub.
TEXT ·stubText(SB),NOSPLIT|NOFRAME,$0
	MOVL	$SYS_exit_group, AX
	MOVL	$101, DI
	SYSCALL
	GOTO(·stubText)

// stubHandler takes every signal: DI signal, SI siginfo, DX ucontext. The
// kernel gave the handler fresh floating-point registers and saved the
// guest's in the frame.
TEXT ·stubHandler(SB),NOSPLIT|NOFRAME,$0
	// The guest may have set AC, which would make our accesses fault, or NT,
	// which would make IRETQ fault.
	PUSHQ	$2
	POPFQ
	MOVQ	SP, BX
	ANDQ	$-const_SlotSize, BX
	MOVQ	UC_IP(DX), R8
	LEAQ	·stubText(SB), R9
	MOVQ	R8, R10
	SUBQ	R9, R10
	CMPQ	R10, $const_textSize
	JCS	instub

	MOVQ	UC_R8(DX), AX
	MOVQ	AX, (page_regs+R_R8)(BX)
	MOVQ	UC_R9(DX), AX
	MOVQ	AX, (page_regs+R_R9)(BX)
	MOVQ	UC_R10(DX), AX
	MOVQ	AX, (page_regs+R_R10)(BX)
	MOVQ	UC_R11(DX), AX
	MOVQ	AX, (page_regs+R_R11)(BX)
	MOVQ	R12, (page_regs+R_R12)(BX)
	MOVQ	R13, (page_regs+R_R13)(BX)
	MOVQ	R14, (page_regs+R_R14)(BX)
	MOVQ	R15, (page_regs+R_R15)(BX)
	MOVQ	UC_DI(DX), AX
	MOVQ	AX, (page_regs+R_DI)(BX)
	MOVQ	UC_SI(DX), AX
	MOVQ	AX, (page_regs+R_SI)(BX)
	MOVQ	BP, (page_regs+R_BP)(BX)
	MOVQ	UC_BX(DX), AX
	MOVQ	AX, (page_regs+R_BX)(BX)
	MOVQ	UC_DX(DX), AX
	MOVQ	AX, (page_regs+R_DX)(BX)
	MOVQ	UC_AX(DX), AX
	MOVQ	AX, (page_regs+R_AX)(BX)
	MOVQ	UC_CX(DX), AX
	MOVQ	AX, (page_regs+R_CX)(BX)
	MOVQ	UC_SP(DX), AX
	MOVQ	AX, (page_regs+R_SP)(BX)
	MOVQ	R8, (page_regs+R_IP)(BX)
	MOVQ	UC_FLAGS(DX), AX
	MOVQ	AX, (page_regs+R_FLAGS)(BX)
	MOVWQZX	UC_CS(DX), AX
	MOVQ	AX, (page_regs+R_CS)(BX)
	MOVWQZX	UC_SS(DX), AX
	MOVQ	AX, (page_regs+R_SS)(BX)

	MOVL	DI, page_sig(BX)
	MOVL	8(SI), AX
	MOVL	AX, page_code(BX)
	MOVQ	16(SI), AX
	MOVQ	AX, page_addr(BX)
	MOVL	28(SI), AX
	MOVL	AX, page_arch(BX)
	MOVQ	UC_TRAPNO(DX), AX
	MOVQ	AX, page_trapno(BX)
	MOVQ	UC_ERR(DX), AX
	MOVQ	AX, page_err(BX)

	MOVQ	UC_FPSTATE(DX), CX
	MOVL	$-1, AX
	MOVL	$-1, DX
	XRSTOR64	(CX)

	CMPL	page_fsgsbase(BX), $0
	JEQ	posted
	RDFSBASEQ	AX
	MOVQ	AX, (page_regs+R_FS)(BX)
	RDGSBASEQ	AX
	MOVQ	AX, (page_regs+R_GS)(BX)
posted:
	MOVL	$const_eventSignal, page_event(BX)
	GOTO(·stubPost)

	// A signal in the stub's own code.
instub:
	CMPL	DI, $23	// SIGURG, the interrupt
	JEQ	interrupt
	MOVQ	page_fixup(BX), R9
	TESTQ	R9, R9
	JEQ	crash
	// An operation touched guest memory that isn't there.
	MOVQ	$0, page_fixup(BX)
	MOVQ	UC_TRAPNO(DX), AX
	INCQ	AX
	MOVQ	AX, page_fault(BX)
	MOVQ	AX, page_failed(BX)
	MOVQ	UC_CX(DX), R10
	MOVQ	UC_FPSTATE(DX), CX
	MOVL	$-1, AX
	MOVL	$-1, DX
	XRSTOR64	(CX)
	MOVQ	R10, CX
	LEAQ	STACK_TOP(BX), SP
	JMP	R9
crash:
	GOTO(·stubText)

interrupt:
	MOVQ	DX, R10
	MOVQ	UC_FPSTATE(DX), CX
	MOVL	$-1, AX
	MOVL	$-1, DX
	XRSTOR64	(CX)
	// On the way out to the guest: go back to where the way out begins,
	// which looks whether an interrupt is wanted.
	LEAQ	·stubExit(SB), R9
	LEAQ	·stubExitEnd(SB), R11
	CMPQ	R8, R9
	JCS	resume
	CMPQ	R8, R11
	JCC	resume
	GOTO(·stubExit)
	// Anywhere else: the sentry has the turn or is about to get it. Go on,
	// as rt_sigreturn(2) would.
resume:
	PUSHQ	$0x2b
	PUSHQ	UC_SP(R10)
	PUSHQ	UC_FLAGS(R10)
	PUSHQ	$0x33
	PUSHQ	UC_IP(R10)
	MOVQ	UC_R8(R10), R8
	MOVQ	UC_R9(R10), R9
	MOVQ	UC_R11(R10), R11
	MOVQ	UC_DI(R10), DI
	MOVQ	UC_SI(R10), SI
	MOVQ	UC_BX(R10), BX
	MOVQ	UC_DX(R10), DX
	MOVQ	UC_AX(R10), AX
	MOVQ	UC_CX(R10), CX
	MOVQ	UC_R10(R10), R10
	IRETQ

// stubEntry is where rewritten system calls jump to, with the address to go on
// at in CX; of the guest's other registers only R11 is free. The GS base holds
// the slot, unless the guest has set it by itself: then the copy of the
// instruction just before that address makes the call, by SIGSYS.
TEXT ·stubEntry(SB),NOSPLIT|NOFRAME,$0
	RDGSBASEQ	R11
	SHRQ	$29, R11
	CMPL	R11, $const_baseMark	// the sentry puts the slots' base here
	JNE	notours
	RDGSBASEQ	R11
	MOVQ	SP, (page_regs+R_SP)(R11)
	MOVQ	BX, (page_regs+R_BX)(R11)
	MOVQ	R11, BX
	LEAQ	STACK_TOP(BX), SP
	PUSHFQ
	POPQ	(page_regs+R_FLAGS)(BX)
	MOVQ	R15, (page_regs+R_R15)(BX)
	MOVQ	R14, (page_regs+R_R14)(BX)
	MOVQ	R13, (page_regs+R_R13)(BX)
	MOVQ	R12, (page_regs+R_R12)(BX)
	MOVQ	BP, (page_regs+R_BP)(BX)
	MOVQ	R10, (page_regs+R_R10)(BX)
	MOVQ	R9, (page_regs+R_R9)(BX)
	MOVQ	R8, (page_regs+R_R8)(BX)
	MOVQ	AX, (page_regs+R_AX)(BX)
	MOVQ	DX, (page_regs+R_DX)(BX)
	MOVQ	SI, (page_regs+R_SI)(BX)
	MOVQ	DI, (page_regs+R_DI)(BX)
	MOVQ	CX, (page_regs+R_CX)(BX)
	MOVQ	CX, (page_regs+R_IP)(BX)
	MOVQ	(page_regs+R_FLAGS)(BX), AX
	MOVQ	AX, (page_regs+R_R11)(BX)
	MOVQ	$0x33, (page_regs+R_CS)(BX)
	MOVQ	$0x2b, (page_regs+R_SS)(BX)
	RDFSBASEQ	AX
	MOVQ	AX, (page_regs+R_FS)(BX)
	MOVL	$const_eventCall, page_event(BX)
	GOTO(·stubFetch)
notours:
	LEAQ	-2(CX), R11
	JMP	R11

// stubFetch copies what a system call will want to read first of guest memory
// to the page, or to a window if it is more, so that the sentry need not ask for
// it. The table of what that is lies behind the code; see platform.Fetch.
TEXT ·stubFetch(SB),NOSPLIT|NOFRAME,$0
	MOVQ	$0, page_fetched(BX)	// and page_parts
	MOVL	$0, page_brought(BX)
	MOVQ	(page_regs+R_AX)(BX), AX
	CMPQ	AX, $const_fetchCalls
	JCC	post
	LEAQ	·stubText(SB), R11
	MOVQ	const_fetchOffset(R11)(AX*8), R10
	MOVWLZX	R10, R9
	SHRQ	$const_alsoShift, R10
	JNE	also
	TESTL	R9, R9
	JEQ	post
first:
	MOVL	R9, CX
	MOVL	R9, DX
	ANDL	$const_fetchRegister, DX
	MOVQ	page_regs(BX)(DX*8), SI
	MOVL	CX, DX
	SHRL	$const_fetchShift, CX
	CMPQ	SI, $const_minAddr
	JCS	post
	TESTL	$const_fetchCounted, DX
	JEQ	fixed
	MOVQ	(page_regs+R_DX)(BX), DX
	CMPQ	DX, CX
	JHI	many
	MOVL	DX, CX
fixed:
	// The next page may not be there.
	MOVL	SI, DX
	ORL	$~4095, DX
	NEGL	DX
	CMPL	CX, DX
	CMOVLHI	DX, CX
	MOVL	CX, DX
	MOVQ	SI, page_fetchedAt(BX)
	LEAQ	·stubUnfetched(SB), AX
	MOVQ	AX, page_fixup(BX)
	LEAQ	page_fetch(BX), DI
	CLD
	REP
	MOVSB
	MOVQ	$0, page_fixup(BX)
	MOVL	DX, page_fetched(BX)
	TESTL	$const_fetchVector, R9
	JNE	vector
	CMPQ	(page_regs+R_AX)(BX), $SYS_readlink
	JNE	post
	CMPQ	page_noLinks(BX), $0
	JEQ	post
	GOTO(·stubNoLink)
post:
	GOTO(·stubPost)
	// The buffers of as many as have come and fit, one behind the other.
vector:
	SHRL	$4, DX
	MOVQ	(page_regs+R_DX)(BX), R8
	CMPQ	R8, DX
	CMOVQHI	DX, R8
	MOVL	page_bringMax(BX), R10
	MOVQ	page_bringTo(BX), DI
	LEAQ	page_fetch(BX), R12
	LEAQ	·stubUnfetched(SB), AX
	MOVQ	AX, page_fixup(BX)
buffer:
	SUBQ	$1, R8
	JCS	brought
	MOVQ	(R12), SI
	MOVQ	8(R12), CX
	ADDQ	$16, R12
	TESTQ	CX, CX
	JEQ	buffer
	CMPQ	CX, R10
	JHI	brought
	CMPQ	SI, $const_minAddr
	JCS	brought
	SUBL	CX, R10
	REP
	MOVSB
	JMP	buffer
brought:
	MOVQ	$0, page_fixup(BX)
	SUBQ	page_bringTo(BX), DI
	MOVL	DI, page_brought(BX)
	MOVQ	$0, page_broughtAt(BX)
	JMP	post
many:
	MOVL	page_bringMax(BX), CX
	CMPQ	DX, CX
	CMOVQCS	DX, CX
	MOVL	CX, DX
	MOVQ	SI, page_broughtAt(BX)
	LEAQ	·stubUnfetched(SB), AX
	MOVQ	AX, page_fixup(BX)
	MOVQ	page_bringTo(BX), DI
	CLD
	REP
	MOVSB
	MOVQ	$0, page_fixup(BX)
	MOVL	DX, page_brought(BX)
	JMP	post
	// The other parts, one in each byte of R10. If one is not there, those behind it do not
	// come, nor what is read first.
also:
	LEAQ	·stubUnfetched(SB), AX
	MOVQ	AX, page_fixup(BX)
	LEAQ	page_also(BX), R12
	CLD
part:
	MOVL	R10, CX
	ANDL	$const_alsoArg, CX
	SHLL	$2, CX
	MOVL	$const_fetchRegisters, DX
	SHRL	CX, DX
	ANDL	$15, DX
	MOVQ	page_regs(BX)(DX*8), SI
	MOVL	R10, DX
	ANDL	$const_alsoSize, DX
	SHRQ	$8, R10
	XORL	R8, R8	// whether it points to more
	CMPQ	SI, $const_minAddr
	JCS	next
	CMPL	DX, $const_fetchMax
	JCS	copy
	JEQ	within
	CMPL	DX, $const_alsoBits
	JEQ	bits
	MOVL	$const_alsoPointsSize, DX
	INCL	R8
	JMP	copy
bits:
	MOVL	(page_regs+R_DI)(BX), DX
	TESTL	DX, DX
	JLE	next
	CMPL	DX, $(8*const_fetchMax)
	JHI	next
	ADDL	$63, DX
	SHRL	$6, DX
	SHLL	$3, DX
	JMP	copy
within:
	MOVL	SI, CX
	ORL	$~4095, CX
	NEGL	CX
	CMPL	DX, CX
	CMOVLHI	CX, DX
copy:
	MOVQ	SI, part_at(R12)
	LEAQ	part_bytes(R12), DI
	MOVL	DX, CX
	REP
	MOVSB
	MOVL	DX, part_length(R12)
	INCL	page_parts(BX)
	MOVQ	part_bytes(R12), SI
	ADDQ	$part__size, R12
	MOVL	$8, DX
	DECL	R8
	JNE	next
	CMPQ	SI, $const_minAddr
	JCC	copy
next:
	TESTQ	R10, R10
	JNE	part
	MOVQ	$0, page_fixup(BX)
	TESTL	R9, R9
	JNE	first
	JMP	post

// stubUnfetched is where stubFetch goes on if that memory is not there.
TEXT ·stubUnfetched(SB),NOSPLIT|NOFRAME,$0
	GOTO(·stubPost)

// stubNoLink answers readlink(2) of the path at page.fetch, of whose bytes there are DX, if
// the thread's table says how: see nolinks.go. An interrupt in it waits for stubExit.
TEXT ·stubNoLink(SB),NOSPLIT|NOFRAME,$0
	TESTL	$const_flagsSlow, (page_regs+R_FLAGS)(BX)
	JNE	post
	CMPL	(page_regs+R_DX)(BX), $0	// the size is an int
	JLE	post
	LEAQ	page_fetch(BX), SI
	LEAQ	(SI)(DX*1), R8
	MOVQ	SI, DI
	MOVL	$const_hashBasis, AX
hash:
	CMPQ	DI, R8
	JCC	post
	MOVBLZX	(DI), CX
	INCQ	DI
	TESTL	CX, CX
	JEQ	ended
	XORL	CX, AX
	IMULL	$const_hashPrime, AX
	JMP	hash
ended:
	MOVQ	DI, CX
	SUBQ	SI, CX
	CMPQ	CX, $const_noLinkPath
	JHI	post
	MOVL	AX, R9
	SHRL	$15, R9
	XORL	R9, AX
	IMULL	$const_hashMix, AX
	SHRL	$24, AX
	SHLL	$const_noLinkShift, AX
	ADDQ	page_noLinks(BX), AX
	LEAQ	·stubText(SB), R11
	MOVQ	const_epochOffset(R11), R9
	CMPQ	R9, noLink_epoch(AX)
	JNE	post
	LEAQ	noLink_path(AX), DI
	REP
	CMPSB
	JNE	post
	MOVQ	noLink_result(AX), AX
	MOVQ	AX, (page_regs+R_AX)(BX)
	INCL	page_kept(BX)
	MOVL	$1, page_fast(BX)
	GOTO(·stubExit)
post:
	GOTO(·stubPost)

// stubPost gives the turn to the sentry, or to the tracer, and waits for its own.
TEXT ·stubPost(SB),NOSPLIT|NOFRAME,$0
	// The frame that brought us here is used up: let the next start afresh.
	LEAQ	STACK_TOP(BX), SP
	CMPL	page_traced(BX), $0
	JNE	traced
	MOVL	$const_turnSentry, AX
	XCHGL	AX, page_turn(BX)
	TESTL	$const_turnSleep, AX
	JEQ	wait
	MOVL	$SYS_futex, AX
	LEAQ	page_turn(BX), DI
	MOVL	$1, SI	// FUTEX_WAKE
	MOVL	$1, DX
	SYSCALL
wait:
	GOTO(·stubWait)
traced:
	BYTE	$0xcc
	GOTO(·stubText)

// stubWait waits for the stub's turn: it spins a little, unless the sentry
// needs this very processor, then sleeps.
TEXT ·stubWait(SB),NOSPLIT|NOFRAME,$0
	CPU(CX)
	CMPL	CX, page_stubCPU(BX)
	JEQ	told
	MOVL	CX, page_stubCPU(BX)
told:
	CMPL	CX, page_sentryCPU(BX)
	JEQ	sleep
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, R8
spin:
	MOVL	page_turn(BX), AX
	TESTL	$const_turnSentry, AX
	JEQ	go
	TESTL	$const_turnErrand, AX
	JNE	errand
	MOVL	page_spin(BX), R9
	PAUSE
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	SUBQ	R8, AX
	CMPQ	AX, R9
	JCS	spin
sleep:
	MOVQ	page_gate(BX), DI
	MOVL	(DI), R9
	MOVL	$const_turnSentry, AX
	MOVL	$(const_turnSentry|const_turnSleep), CX
	LOCK
	CMPXCHGL	CX, page_turn(BX)
	TESTL	$const_turnSentry, AX
	JEQ	go
	TESTL	$const_turnErrand, AX
	JNE	errand
	MOVL	$SYS_futex, AX
	XORL	SI, SI	// FUTEX_WAIT
	MOVL	R9, DX
	XORL	R10, R10
	SYSCALL
	MOVL	page_turn(BX), AX
	TESTL	$const_turnSentry, AX
	JNE	sleep
	CPU(CX)
	MOVL	CX, page_stubCPU(BX)
go:
	GOTO(·stubGo)
errand:
	MOVQ	page_errand(BX), DI
	LOCK
	ANDL	$~const_turnErrand, page_turn(BX)
	MOVL	$SYS_futex, AX
	MOVL	$1, SI	// FUTEX_WAKE
	MOVL	$0x7fffffff, DX
	SYSCALL
	JMP	sleep

// stubGo runs the batch of operations, then does what page.after says.
// R12 counts the operations, R14 points at the one in progress.
TEXT ·stubGo(SB),NOSPLIT|NOFRAME,$0
	MOVQ	$0, page_fixup(BX)
	MOVL	page_nops(BX), R12
	LEAQ	page_ops(BX), R14
	TESTL	R12, R12
	JEQ	done
	GOTO(·stubNext)
done:
	GOTO(·stubDone)

// stubStore stores an operation's result, which is in AX, and goes on.
TEXT ·stubStore(SB),NOSPLIT|NOFRAME,$0
	MOVQ	$0, page_fixup(BX)
	MOVQ	AX, op_result(R14)
	CMPQ	AX, $-4095
	JCS	good
	MOVQ	AX, page_failed(BX)
good:
	ADDQ	$op__size, R14
	DECL	R12
	JEQ	last
	GOTO(·stubNext)
last:
	MOVL	$0, page_nops(BX)
	GOTO(·stubDone)

// stubDone is what comes after the last operation.
TEXT ·stubDone(SB),NOSPLIT|NOFRAME,$0
	MOVL	page_after(BX), AX
	TESTL	AX, AX
	JEQ	run
	CMPL	AX, $const_afterCheck
	JNE	post
	CMPQ	page_failed(BX), $0
	JEQ	run
post:
	MOVL	$const_eventOps, page_event(BX)
	GOTO(·stubPost)
run:
	GOTO(·stubExit)

// stubFixup is where an operation goes on whose access to guest memory
// faulted; CX is as it was then.
TEXT ·stubFixup(SB),NOSPLIT|NOFRAME,$0
	MOVQ	CX, AX
	GOTO(·stubStore)

// stubNext runs one operation.
TEXT ·stubNext(SB),NOSPLIT|NOFRAME,$0
	MOVQ	op_nr(R14), AX
	MOVQ	(op_args+0)(R14), DI
	MOVQ	(op_args+8)(R14), SI
	MOVQ	(op_args+16)(R14), DX
	MOVQ	(op_args+24)(R14), R10
	MOVQ	(op_args+32)(R14), R8
	MOVQ	(op_args+40)(R14), R9
	CMPQ	AX, $const_opPseudo
	JCC	pseudo
	SYSCALL
store:
	GOTO(·stubStore)

pseudo:
	CMPQ	AX, $const_opCopyIn
	JEQ	copyin
	CMPQ	AX, $const_opCopyOut
	JEQ	copyout
	CMPQ	AX, $const_opSwap
	JEQ	swap
	CMPQ	AX, $const_opMmapFD
	JEQ	mmapfd
	CMPQ	AX, $const_opReceive
	JEQ	receive
	CMPQ	AX, $const_opCloseFD
	JEQ	closefd
	CMPQ	AX, $const_opXsave
	JEQ	xsave
	CMPQ	AX, $const_opXrstor
	JEQ	xrstor
	CMPQ	AX, $const_opStore
	JEQ	word
	CMPQ	AX, $const_opThread
	JEQ	thread
	CMPQ	AX, $const_opFork
	JEQ	fork
	GOTO(·stubText)

copyin:
	MOVQ	SI, CX
	MOVQ	DI, SI
	LEAQ	(BX)(DX*1), DI
	JMP	copy
copyout:
	MOVQ	SI, CX
	LEAQ	(BX)(DX*1), SI
copy:
	LEAQ	·stubFixup(SB), AX
	MOVQ	AX, page_fixup(BX)
	CLD	// a guest that came by stubEntry may have set it
	REP
	MOVSB
	MOVQ	CX, AX
	JMP	store

swap:
	LEAQ	·stubFixup(SB), AX
	MOVQ	AX, page_fixup(BX)
	MOVL	SI, AX
	LOCK
	CMPXCHGL	DX, (DI)
	JMP	store

mmapfd:
	MOVL	$SYS_mmap, AX
	MOVQ	page_fd(BX), R8
	SYSCALL
	JMP	store

receive:
	MOVL	$-1, AX
	MOVL	AX, (page_control+16)(BX)
	MOVL	AX, (page_control+20)(BX)
	MOVQ	$24, (page_msg+msghdr_controllen)(BX)
	MOVL	$SYS_recvmsg, AX
	XORL	DI, DI
	LEAQ	page_msg(BX), SI
	MOVL	$0x40000040, DX	// MSG_CMSG_CLOEXEC|MSG_DONTWAIT
	SYSCALL
	MOVLQSX	(page_control+16)(BX), CX
	MOVQ	CX, page_fd(BX)
	MOVLQSX	(page_control+20)(BX), CX
	MOVQ	CX, page_fd2(BX)
	JMP	store

closefd:
	MOVL	$SYS_close, AX
	MOVQ	page_fd(BX), DI
	SYSCALL
	JMP	store

xsave:
	LEAQ	·stubFixup(SB), AX
	MOVQ	AX, page_fixup(BX)
	MOVQ	SI, AX
	MOVQ	SI, DX
	SHRQ	$32, DX
	XSAVE64	(DI)
	XORL	AX, AX
	JMP	store
xrstor:
	LEAQ	·stubFixup(SB), AX
	MOVQ	AX, page_fixup(BX)
	MOVQ	SI, AX
	MOVQ	SI, DX
	SHRQ	$32, DX
	XRSTOR64	(DI)
	XORL	AX, AX
	JMP	store

word:
	LEAQ	·stubFixup(SB), AX
	MOVQ	AX, page_fixup(BX)
	MOVQ	SI, (DI)
	XORL	AX, AX
	GOTO(·stubStore)

thread:
	MOVL	$SYS_clone, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	store
	MOVQ	SP, BX
	ANDQ	$-const_SlotSize, BX
	GOTO(·stubStart)

fork:
	// The child has no slots until it maps its own, so what it needs is in
	// registers.
	MOVQ	SI, R13
	MOVQ	DX, BP
	MOVQ	page_fd(BX), R9
	MOVQ	page_fd2(BX), R15
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$SYS_clone, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	forked
	GOTO(·stubForked)
forked:
	MOVQ	AX, R13
	MOVL	$SYS_close, AX
	MOVQ	page_fd(BX), DI
	SYSCALL
	MOVL	$SYS_close, AX
	MOVQ	page_fd2(BX), DI
	SYSCALL
	MOVQ	R13, AX
	JMP	store

// stubForked is a new process's first code: R13 and BP say where its slots
// go, R9 is their memory file, R15 its socket.
TEXT ·stubForked(SB),NOSPLIT|NOFRAME,$0
	MOVL	$SYS_mmap, AX
	MOVQ	R13, DI
	MOVQ	BP, SI
	MOVL	$3, DX
	MOVL	$0x11, R10	// MAP_SHARED|MAP_FIXED
	MOVQ	R9, R8
	XORL	R9, R9
	SYSCALL
	CMPQ	AX, R13
	JNE	crash
	MOVL	$SYS_madvise, AX
	MOVQ	R13, DI
	MOVQ	BP, SI
	MOVL	$10, DX	// MADV_DONTFORK
	SYSCALL
	MOVL	$SYS_dup2, AX
	MOVQ	R15, DI
	XORL	SI, SI
	SYSCALL
	TESTQ	AX, AX
	JNE	crash
	MOVL	$SYS_close_range, AX
	MOVL	$1, DI
	MOVL	$-1, SI
	XORL	DX, DX
	SYSCALL
	MOVL	$SYS_prctl, AX
	MOVL	$1, DI	// PR_SET_PDEATHSIG
	MOVL	$9, SI
	SYSCALL
	MOVQ	R13, BX
	MOVL	$SYS_getppid, AX
	SYSCALL
	CMPQ	AX, page_ppid(BX)
	JNE	crash
	GOTO(·stubStart)
crash:
	GOTO(·stubText)

// stubStart is where a thread begins that has a slot.
TEXT ·stubStart(SB),NOSPLIT|NOFRAME,$0
	// The host does not change the signal stack that the stack pointer is on,
	// which a fork inherits.
	MOVQ	BX, SP
	MOVL	$SYS_sigaltstack, AX
	LEAQ	page_sas(BX), DI
	XORL	SI, SI
	SYSCALL
	TESTQ	AX, AX
	JNE	crash
	LEAQ	STACK_TOP(BX), SP
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, page_began(BX)
	CMPL	page_fsgsbase(BX), $0
	JEQ	wait
	WRGSBASEQ	BX	// for stubEntry
wait:
	GOTO(·stubWait)
crash:
	GOTO(·stubText)

// stubExit resumes the guest. It changes nothing but registers until its last
// instruction, so that an interrupt in it can start it again.
TEXT ·stubExit(SB),NOSPLIT|NOFRAME,$0
	CMPL	page_intr(BX), $0
	JNE	interrupted
	CMPL	page_fast(BX), $0
	JNE	fast
	// IRETQ faults with NT set, which a guest that came by stubEntry may have.
	LEAQ	STACK_TOP(BX), SP
	PUSHQ	$2
	POPFQ
	LEAQ	(page_regs+R_IP)(BX), SP
	MOVQ	(R_R15-R_IP)(SP), R15
	MOVQ	(R_R14-R_IP)(SP), R14
	MOVQ	(R_R13-R_IP)(SP), R13
	MOVQ	(R_R12-R_IP)(SP), R12
	BYTE	$0x48; BYTE $0x8b; BYTE $0x6c; BYTE $0x24; BYTE $(R_BP-R_IP)	// MOVQ (R_BP-R_IP)(SP), BP, which vet does not like
	MOVQ	(R_BX-R_IP)(SP), BX
	MOVQ	(R_R11-R_IP)(SP), R11
	MOVQ	(R_R10-R_IP)(SP), R10
	MOVQ	(R_R9-R_IP)(SP), R9
	MOVQ	(R_R8-R_IP)(SP), R8
	MOVQ	(R_AX-R_IP)(SP), AX
	MOVQ	(R_CX-R_IP)(SP), CX
	MOVQ	(R_DX-R_IP)(SP), DX
	MOVQ	(R_SI-R_IP)(SP), SI
	MOVQ	(R_DI-R_IP)(SP), DI
	// The registers' instruction pointer, code segment, flags, stack pointer
	// and stack segment are laid out as IRETQ wants them.
	IRETQ
	// After a system call CX and R11 are free, and the flags that matter are
	// still the guest's: a jump does, which costs a fifth of IRETQ.
fast:
	LEAQ	(page_regs+R_IP)(BX), SP
	MOVQ	(R_R15-R_IP)(SP), R15
	MOVQ	(R_R14-R_IP)(SP), R14
	MOVQ	(R_R13-R_IP)(SP), R13
	MOVQ	(R_R12-R_IP)(SP), R12
	BYTE	$0x48; BYTE $0x8b; BYTE $0x6c; BYTE $0x24; BYTE $(R_BP-R_IP)	// as above
	MOVQ	(R_BX-R_IP)(SP), BX
	MOVQ	(R_R11-R_IP)(SP), R11
	MOVQ	(R_R10-R_IP)(SP), R10
	MOVQ	(R_R9-R_IP)(SP), R9
	MOVQ	(R_R8-R_IP)(SP), R8
	MOVQ	(R_AX-R_IP)(SP), AX
	MOVQ	(R_DX-R_IP)(SP), DX
	MOVQ	(R_SI-R_IP)(SP), SI
	MOVQ	(R_DI-R_IP)(SP), DI
	MOVQ	(SP), CX
	MOVQ	(R_SP-R_IP)(SP), SP
	JMP	CX
interrupted:
	MOVL	$const_eventInterrupt, page_event(BX)
	GOTO(·stubPost)

// stubExitEnd ends the range in which an interrupt starts stubExit again.
TEXT ·stubExitEnd(SB),NOSPLIT|NOFRAME,$0
	GOTO(·stubText)

TEXT ·stubTextEnd(SB),NOSPLIT|NOFRAME,$0
	GOTO(·stubText)
