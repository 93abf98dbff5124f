package egress

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Refusal is one line of the log.
type Refusal struct {
	// PID and Command are the process, as the sandbox numbers and calls it and as
	// far as it says; 0 if it is not known.
	PID     int32
	Command string
	// Protocol is "tcp", "udp", "icmp" or "dns".
	Protocol string
	// Name is what was asked for, or what the address stands for; "" if that is not known.
	Name string
	// Address is invalid for a question for a name.
	Address netip.AddrPort
	// Rule is the one that comes nearest to permitting it; "" if there is none.
	Rule   string
	Reason string
}

const (
	// logBurst lines are written at once, and one more each logEvery.
	logBurst = 50
	logEvery = 200 * time.Millisecond
	// repeatTime is for how long text does not say the same again: resolvers ask for
	// each kind of address, and again.
	repeatTime = time.Second
	// maxLogged bounds each text from the sandbox in a line.
	maxLogged = 256
)

// Log writes refusals, a line each, and counts those beyond its rate. Make one with
// NewLog. It may be used by many goroutines.
type Log struct {
	w    io.Writer
	json bool
	now  func() time.Time

	mu         sync.Mutex
	refill     time.Time
	tokens     int
	last       Refusal
	lastAt     time.Time
	suppressed atomic.Int64
}

// NewLog returns a log of text, or of a JSON object in each line.
func NewLog(w io.Writer, json bool, now func() time.Time) *Log {
	return &Log{w: w, json: json, now: now, refill: now(), tokens: logBurst}
}

// Refused writes a line, if the rate allows. That it cannot be written changes nothing for
// whoever was refused.
func (l *Log) Refused(r Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if !l.json && r == l.last && now.Sub(l.lastAt) < repeatTime {
		return
	}
	l.last, l.lastAt = r, now
	if n := int(now.Sub(l.refill) / logEvery); n > 0 {
		l.tokens = min(logBurst, l.tokens+n)
		l.refill = l.refill.Add(time.Duration(n) * logEvery)
	}
	if l.tokens == 0 {
		l.Skip()
		return
	}
	l.tokens--
	l.flushSuppressed(now)
	l.write(now, r)
}

// Skip counts a refusal without a line. It never waits.
func (l *Log) Skip() { l.suppressed.Add(1) }

// Close writes how many refusals were not written last.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushSuppressed(l.now())
}

func (l *Log) flushSuppressed(now time.Time) {
	n := l.suppressed.Swap(0)
	if n == 0 {
		return
	}
	if l.json {
		l.writeJSON(struct {
			Time       time.Time `json:"time"`
			Suppressed int64     `json:"suppressed"`
		}{now.UTC(), n})
		return
	}
	fmt.Fprintf(l.w, "coffer: egress: %d more refusals\n", n)
}

func (l *Log) write(now time.Time, r Refusal) {
	if l.json {
		address := ""
		var port uint16
		if r.Address.IsValid() {
			address, port = r.Address.Addr().String(), r.Address.Port()
		}
		l.writeJSON(struct {
			Time     time.Time `json:"time"`
			PID      int32     `json:"pid,omitempty"`
			Command  string    `json:"command,omitempty"`
			Protocol string    `json:"protocol"`
			Name     string    `json:"name,omitempty"`
			Address  string    `json:"address,omitempty"`
			Port     uint16    `json:"port,omitempty"`
			Rule     string    `json:"rule,omitempty"`
			Reason   string    `json:"reason"`
		}{now.UTC(), r.PID, bounded(r.Command), r.Protocol, bounded(r.Name), address, port, r.Rule, r.Reason})
		return
	}
	var b strings.Builder
	b.WriteString("coffer: egress refused: ")
	if r.PID != 0 {
		fmt.Fprintf(&b, "%s (pid %d) ", escaped(r.Command), r.PID)
	}
	b.WriteString(r.Protocol)
	switch {
	case !r.Address.IsValid():
	case r.Address.Port() == 0:
		fmt.Fprintf(&b, " %s", r.Address.Addr())
	default:
		fmt.Fprintf(&b, " %s", r.Address)
	}
	if r.Name != "" {
		fmt.Fprintf(&b, " (%s)", escaped(r.Name))
	}
	fmt.Fprintf(&b, ": %s", r.Reason)
	if r.Rule != "" {
		fmt.Fprintf(&b, " (rule %s)", shorten(r.Rule))
	}
	b.WriteByte('\n')
	io.WriteString(l.w, b.String())
}

func (l *Log) writeJSON(v any) {
	if b, err := json.Marshal(v); err == nil {
		l.w.Write(append(b, '\n'))
	}
}

func bounded(s string) string {
	if len(s) > maxLogged {
		s = s[:maxLogged]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// escaped has nothing in it that a terminal obeys.
func escaped(s string) string {
	q := strconv.QuoteToASCII(bounded(s))
	return q[1 : len(q)-1]
}
