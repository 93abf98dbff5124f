package kernel

import (
	"coffer/internal/sentry/abi"
)

// signalQueue holds pending signals: of a standard signal at most one, of
// real-time signals as many as were sent, in order (signal(7)).
// ThreadGroup.mu guards it.
type signalQueue struct {
	// set are the signals that are pending. One may be in the set without an
	// element in the list if its siginfo did not fit the limit.
	set        abi.SignalSet
	head, tail *queuedSignal
}

// queuedSignal is one pending siginfo.
type queuedSignal struct {
	info abi.Siginfo
	// user is whose RLIMIT_SIGPENDING the element counts to, or nil.
	user *userCounts
	// timer, if not nil, is asked at delivery for its overrun count.
	timer TimerSignal
	next  *queuedSignal
}

// TimerSignal is a POSIX timer whose signal is pending. At most one signal of
// each timer is: further expirations count as overruns.
type TimerSignal interface {
	// Delivered is called when the signal is taken from the queue, with
	// ThreadGroup.mu held; it may fill in the overrun count. It must not
	// take that lock or send signals.
	Delivered(info *abi.Siginfo)
}

func (q *signalQueue) push(s *queuedSignal) {
	q.set.Add(s.info.Signo)
	if q.tail == nil {
		q.head = s
	} else {
		q.tail.next = s
	}
	q.tail = s
}

// take removes the first pending element of signal sig and returns it.
func (q *signalQueue) take(sig int32) abi.Siginfo {
	var found *queuedSignal
	more := false
	var prev *queuedSignal
	for s := q.head; s != nil; {
		next := s.next
		if s.info.Signo == sig {
			if found != nil {
				more = true
				break
			}
			found = s
			q.unlink(prev, s)
		} else {
			prev = s
		}
		s = next
	}
	if !more {
		q.set.Del(sig)
	}
	if found == nil {
		// Its siginfo was dropped when the limit was reached.
		return abi.Siginfo{Signo: sig, Code: abi.SI_USER}
	}
	found.release()
	if found.timer != nil {
		found.timer.Delivered(&found.info)
	}
	return found.info
}

func (q *signalQueue) unlink(prev, s *queuedSignal) {
	if prev == nil {
		q.head = s.next
	} else {
		prev.next = s.next
	}
	if q.tail == s {
		q.tail = prev
	}
	s.next = nil
}

// discard drops all pending signals of the set.
func (q *signalQueue) discard(set abi.SignalSet) {
	if q.set&set == 0 {
		return
	}
	q.set &^= set
	var prev *queuedSignal
	for s := q.head; s != nil; {
		next := s.next
		if set.Has(s.info.Signo) {
			q.unlink(prev, s)
			s.release()
		} else {
			prev = s
		}
		s = next
	}
}

// removeTimer drops the pending signal of a timer that was deleted.
func (q *signalQueue) removeTimer(t TimerSignal) {
	var prev *queuedSignal
	for s := q.head; s != nil; s = s.next {
		if s.timer == t {
			q.unlink(prev, s)
			s.release()
			if !q.has(s.info.Signo) {
				q.set.Del(s.info.Signo)
			}
			return
		}
		prev = s
	}
}

func (q *signalQueue) has(sig int32) bool {
	for s := q.head; s != nil; s = s.next {
		if s.info.Signo == sig {
			return true
		}
	}
	return false
}

func (s *queuedSignal) release() {
	if s.user != nil {
		s.user.signals.Add(-1)
		s.user = nil
	}
}
