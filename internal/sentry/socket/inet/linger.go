package inet

import (
	"sync"
	"time"
	"weak"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/shmem"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// maxLingering is how many connections go on after their sockets have been closed, those
// in TIME_WAIT for the most part (tcp_max_tw_buckets and tcp_max_orphans in tcp(7)).
const maxLingering = 8192

// settleEvery is how often orphans are looked at while nothing else makes them be.
const settleEvery = time.Second

// orphan is a connection whose socket has been closed and that counts for what its socket
// did until it has sent all. One that nobody has accepted counts until it has ended:
// what it has sent waits at its other end, which has no socket that counts.
type orphan struct {
	endpoint   weak.Pointer[tcp.Endpoint]
	charge     int64
	unaccepted bool
}

// lingering are the connections whose sockets were closed last. It has a lock that is a
// leaf.
var lingering struct {
	sync.Mutex
	oldest int
	// abort ends each of them.
	abort []func()
	// orphans are those that count. settling says that they will be looked at.
	orphans  []orphan
	settling bool
}

// linger lets a closed endpoint come to its end by itself, unless too many do. It takes
// over what the socket counted for.
func linger(e tcpip.Endpoint, charge int64, unaccepted bool) {
	t, ok := e.(*tcp.Endpoint)
	if !ok || atRest(t.EndpointState()) {
		shmem.Buffers.Uncharge(charge)
		return
	}
	boundLingering(weakly(t))
	lingering.Lock()
	defer lingering.Unlock()
	if charge != 0 {
		lingering.orphans = append(lingering.orphans, orphan{weak.Make(t), charge, unaccepted})
	}
	// Most need but a moment: two for each that comes keep up with them.
	settle(2)
}

// boundLingering takes up a connection among those that go on without a socket, in the place
// of the oldest if there are too many.
func boundLingering(abort func()) {
	lingering.Lock()
	var old func()
	if len(lingering.abort) < maxLingering {
		lingering.abort = append(lingering.abort, abort)
	} else {
		i := lingering.oldest
		old, lingering.abort[i] = lingering.abort[i], abort
		lingering.oldest = (i + 1) % maxLingering
	}
	lingering.Unlock()
	if old != nil {
		old()
	}
}

// weakly returns what aborts a connection that is still there then.
func weakly[T any, C interface {
	*T
	Abort()
}](connection C) func() {
	w := weak.Make((*T)(connection))
	return func() {
		if c := w.Value(); c != nil {
			C(c).Abort()
		}
	}
}

// atRest reports whether an endpoint in a state has nothing left to do.
func atRest(state tcp.EndpointState) bool {
	switch state {
	case tcp.StateError, tcp.StateClose, tcp.StateInitial, tcp.StateBound, tcp.StateListen:
		return true
	}
	return false
}

// counts reports whether the orphan still holds what it counts for.
func (o *orphan) counts() bool {
	t := o.endpoint.Value()
	if t == nil {
		return false
	}
	switch state := t.EndpointState(); state {
	case tcp.StateTimeWait:
		return false
	case tcp.StateFinWait2:
		return o.unaccepted
	default:
		return !atRest(state)
	}
}

// settle looks at the n orphans that have waited longest for it, and gives back what
// those counted for that have come to their end. lingering is locked.
func settle(n int) {
	for range min(n, len(lingering.orphans)) {
		o := lingering.orphans[0]
		lingering.orphans = lingering.orphans[1:]
		if o.counts() {
			lingering.orphans = append(lingering.orphans, o)
		} else {
			shmem.Buffers.Uncharge(o.charge)
		}
	}
	if len(lingering.orphans) > 0 && !lingering.settling {
		lingering.settling = true
		time.AfterFunc(settleEvery, crash.Guard(func() {
			lingering.Lock()
			lingering.settling = false
			lingering.Unlock()
			settleOrphans()
		}))
	}
}

// settleOrphans looks at all of them.
func settleOrphans() {
	lingering.Lock()
	defer lingering.Unlock()
	settle(len(lingering.orphans))
}
