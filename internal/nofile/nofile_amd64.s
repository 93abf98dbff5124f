#include "textflag.h"

#define SYS_getrlimit 97
#define RLIMIT_NOFILE 7

// func getrlimit(l *Limit)
TEXT ·getrlimit(SB), NOSPLIT, $0-8
	MOVQ $SYS_getrlimit, AX
	MOVQ $RLIMIT_NOFILE, DI
	MOVQ l+0(FP), SI
	SYSCALL
	RET
