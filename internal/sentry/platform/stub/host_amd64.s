// What the sentry itself needs in assembly.

#include "textflag.h"
#include "go_asm.h"

// func symbols() (text, handler, start, run, entry, end uintptr)
TEXT ·symbols(SB),NOSPLIT,$0-48
	LEAQ	·stubText(SB), AX
	MOVQ	AX, text+0(FP)
	LEAQ	·stubHandler(SB), AX
	MOVQ	AX, handler+8(FP)
	LEAQ	·stubStart(SB), AX
	MOVQ	AX, start+16(FP)
	LEAQ	·stubGo(SB), AX
	MOVQ	AX, run+24(FP)
	LEAQ	·stubEntry(SB), AX
	MOVQ	AX, entry+32(FP)
	LEAQ	·stubTextEnd(SB), AX
	MOVQ	AX, end+40(FP)
	RET

// func spawn(a *spawnArgs) int64
//
// The child has a copy of our address space but no Go: it puts the stub's
// code and slots into place and goes there.
TEXT ·spawn(SB),NOSPLIT,$0-16
	MOVQ	a+0(FP), R12
	MOVL	$56, AX	// clone, without an exit signal: as fork(2) but silent
	XORL	DI, DI
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	TESTQ	AX, AX
	JEQ	child
	MOVQ	AX, ret+8(FP)
	RET
child:
	MOVL	$9, AX	// mmap
	MOVQ	spawnArgs_text(R12), DI
	MOVL	$const_textSize, SI
	MOVL	$3, DX
	MOVL	$0x32, R10	// MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS
	MOVL	$-1, R8
	XORL	R9, R9
	SYSCALL
	CMPQ	AX, spawnArgs_text(R12)
	JNE	fail
	MOVQ	spawnArgs_code(R12), SI
	MOVQ	spawnArgs_text(R12), DI
	MOVQ	spawnArgs_size(R12), CX
	CLD
	REP
	MOVSB
	MOVL	$10, AX	// mprotect
	MOVQ	spawnArgs_text(R12), DI
	MOVL	$const_textSize, SI
	MOVL	$5, DX
	SYSCALL
	TESTQ	AX, AX
	JNE	fail
	MOVL	$9, AX	// mmap
	MOVQ	spawnArgs_slots(R12), DI
	MOVL	$const_slotsSize, SI
	MOVL	$3, DX
	MOVL	$0x11, R10	// MAP_SHARED|MAP_FIXED
	MOVQ	spawnArgs_memfd(R12), R8
	XORL	R9, R9
	SYSCALL
	CMPQ	AX, spawnArgs_slots(R12)
	JNE	fail
	MOVQ	AX, BX
	MOVQ	spawnArgs_start(R12), AX
	JMP	AX
fail:
	MOVL	$231, AX	// exit_group
	MOVL	$102, DI
	SYSCALL
	JMP	fail

// func cpu() uint32
TEXT ·cpu(SB),NOSPLIT,$0-4
	MOVL	$-1, CX
	MOVL	$0x7b, AX	// as the stub's CPU
	LSLL	AX, CX
	MOVL	CX, ret+0(FP)
	RET

// func spinForTurn(p *page, cycles uint32) spinResult
TEXT ·spinForTurn(SB),NOSPLIT,$0-17
	MOVQ	p+0(FP), BX
	MOVL	cycles+8(FP), R9
	MOVL	$-1, CX
	MOVL	$0x7b, AX
	LSLL	AX, CX
	CMPL	CX, page_sentryCPU(BX)
	JEQ	told
	MOVL	CX, page_sentryCPU(BX)
told:
	CMPL	CX, page_stubCPU(BX)
	JEQ	same
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, R8
spin:
	MOVL	page_turn(BX), AX
	TESTL	$const_turnSentry, AX
	JNE	set
	PAUSE
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	SUBQ	R8, AX
	CMPQ	AX, R9
	JCS	spin
	MOVB	$const_spinVain, ret+16(FP)
	RET
same:
	MOVL	page_turn(BX), AX
	TESTL	$const_turnSentry, AX
	JNE	met
	MOVB	$const_spinSameCPU, ret+16(FP)
	RET
met:
	MOVB	$const_spinMet, ret+16(FP)
	RET
set:
	MOVB	$const_spinAnswered, ret+16(FP)
	RET

// func cycles() uint64
TEXT ·cycles(SB),NOSPLIT,$0-8
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

// func CPUID(leaf, sub uint32) (a, b, c, d uint32)
TEXT ·CPUID(SB),NOSPLIT,$0-24
	MOVL	leaf+0(FP), AX
	MOVL	sub+4(FP), CX
	CPUID
	MOVL	AX, a+8(FP)
	MOVL	BX, b+12(FP)
	MOVL	CX, c+16(FP)
	MOVL	DX, d+20(FP)
	RET

// func xgetbv() uint64
TEXT ·xgetbv(SB),NOSPLIT,$0-8
	XORL	CX, CX
	BYTE $0x0f; BYTE $0x01; BYTE $0xd0
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET
