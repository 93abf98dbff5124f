package link

import (
	"time"

	"gvisor.dev/gvisor/pkg/log"
)

// Quiet has the TCP/IP stack not write to standard error: what it has to say there is
// about packets that it drops, which the sandbox's counters tell, and the terminal is
// the user's. It is for a process to call when it begins.
func Quiet() { log.SetTarget(quiet{}) }

type quiet struct{}

func (quiet) Emit(int, log.Level, time.Time, string, ...any) {}
