#include "textflag.h"

#define SYS_exit_group 231

// The fields of Step, in script.go.
#define number     0
#define args       8
#define want       56
#define value      64
#define result     72
#define unlessDone 80
#define forker     88
#define failed     96
#define index      104
#define stepSize   112

#define wantAnything 1
#define wantValue    2

// func cloneAndRun(call uintptr, with [2]uintptr, first *Step) uintptr
//
// The child comes back from the call with its parent's stack pointer, perhaps in
// its parent's memory. It keeps all that it needs in registers that system
// calls preserve: R12 is the current step.
TEXT ·cloneAndRun(SB), NOSPLIT, $0-40
	MOVQ call+0(FP), AX
	MOVQ with_0+8(FP), DI
	MOVQ with_1+16(FP), SI
	MOVQ first+24(FP), R12
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	SYSCALL
	TESTQ AX, AX
	JZ   run
	MOVQ AX, ret+32(FP)
	RET

run:
	MOVQ unlessDone(R12), R13
	TESTQ R13, R13
	JZ   do
	CMPQ (R13), $0
	JGE  next

do:
	MOVQ number(R12), AX
	MOVQ (args+0)(R12), DI
	MOVQ (args+8)(R12), SI
	MOVQ (args+16)(R12), DX
	MOVQ (args+24)(R12), R10
	MOVQ (args+32)(R12), R8
	MOVQ (args+40)(R12), R9
	SYSCALL
	MOVQ forker(R12), R13
	TESTQ R13, R13
	JZ   check
	TESTQ AX, AX
	JZ   next // the new process: the result is for the other one to store
	JS   check
	MOVQ AX, result(R12)
	MOVQ R13, R12
	JMP  run

check:
	MOVQ AX, result(R12)
	MOVQ want(R12), R13
	CMPQ R13, $wantAnything
	JEQ  next
	CMPQ R13, $wantValue
	JEQ  compare
	TESTQ AX, AX
	JNS  next
	JMP  fail

compare:
	CMPQ AX, value(R12)
	JEQ  next

fail:
	MOVQ failed(R12), R13
	MOVQ index(R12), R14
	MOVQ R14, (R13)

	// The script's end, or nobody could say what to do next.
	MOVQ $SYS_exit_group, AX
	MOVQ $1, DI
	SYSCALL
	INT  $3

next:
	ADDQ $stepSize, R12
	JMP  run
