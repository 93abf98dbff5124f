package egress

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Follower follows what a client sends in a connection of HTTP/1, so that no later request is
// for another server than the first, or of TLS, so that no later ClientHello is. Make one with
// Engine.Follow. It is for one goroutine.
type Follower struct {
	port       uint16
	candidates []candidate
	// held is what has come and may not leave yet: the beginning of a head or of a chunk's.
	held []byte
	// next reads the next part, and returns how much of held it is: errMore for a part
	// that has not come. It sets next anew.
	next func() (int, error)
	// left is what is missing of a content or chunk.
	left int64
	// hello is what has come of a second ClientHello, and has left but for its last record.
	hello []byte
	// early says that of TLS data may come before a second ClientHello.
	early bool
	// over says that what comes need not be looked at.
	over bool
	// refused is why nothing more may leave.
	refused *Verdict
}

// maxLine bounds a line of a chunked content, maxHead the head of a request.
const (
	maxLine = 4 << 10
	maxHead = 16 << 10
)

// Follow returns who has a say in the whole of a flow, of which First has permitted the first
// bytes; nil is nobody: it is neither HTTP/1 nor TLS, or not permitted by name alone. The first bytes are to be put
// to it again.
func (e *Engine) Follow(to netip.AddrPort, first []byte) *Follower {
	if len(first) == 0 {
		return nil
	}
	r := &Follower{port: to.Port()}
	if is, err := looksLikeTLS(first); err == nil && is {
		r.next = r.firstHello
	} else if is, err := looksLikeHTTP(first); err == nil && is {
		r.next = r.head
	} else {
		return nil
	}
	e.mu.Lock()
	v, candidates := e.flow(TCP, to, lateData)
	e.mu.Unlock()
	switch {
	case len(candidates) > 0:
		r.candidates = candidates
	case v.Decision == Permit:
		return nil
	default:
		r.refused = &v // the names have ceased to hold since First
	}
	return r
}

// Over reports whether all that comes from now on may leave, so that nobody need follow.
func (r *Follower) Over() bool { return r.over && r.refused == nil }

// Next takes what has come, and returns how much of that, and of what came before, may leave now.
// That may be in b itself. After a refusal nothing more may.
func (r *Follower) Next(b []byte) (pass []byte, v Verdict) {
	if r.refused != nil {
		return nil, *r.refused
	}
	whole := b
	if len(r.held) > 0 {
		whole = append(r.held, b...)
	}
	passed := 0
	for {
		r.held = whole[passed:]
		n, err := r.next()
		passed += n
		switch {
		case errors.Is(err, errMore):
			r.held = nil
			if passed < len(whole) {
				r.held = bytes.Clone(whole[passed:])
			}
			return whole[:passed], permit(r.candidates[0].rule, r.candidates[0].name)
		case r.refused != nil:
			return nil, *r.refused
		case err != nil:
			v := refuse(r.candidates[0].name, "a later part of the connection is malformed: %v", err).beside(r.candidates[0].rule)
			r.refused = &v
			return nil, v
		}
	}
}

// head reads the head of a request.
func (r *Follower) head() (int, error) {
	if len(r.held) == 0 {
		return 0, errMore
	}
	q, err := readRequest(r.held)
	if errors.Is(err, errMore) && len(r.held) > maxHead || q.head > maxHead {
		return 0, errors.New("the head of a request is too long")
	}
	if err != nil {
		return 0, err
	}
	if v := namedVerdict(r.port, r.candidates, q.host, "HTTP request"); v.Decision != Permit {
		r.refused = &v
		return 0, nil
	}
	switch {
	case q.webSocket:
		r.left, r.next = q.length, r.beforeFrames
	case q.chunked:
		r.next = r.chunk
	default:
		r.left, r.next = q.length, r.content
	}
	return int(q.head), nil
}

// content reads a content whose length is known.
func (r *Follower) content() (int, error) { return r.data(r.head) }

// data reads what is left, and has then follow.
func (r *Follower) data(then func() (int, error)) (int, error) {
	n := min(r.left, int64(len(r.held)))
	if r.left -= n; r.left == 0 {
		r.next = then
		return int(n), nil
	}
	return int(n), errMore
}

// line returns the next line, and its length with its end.
func (r *Follower) line() (string, int, error) {
	end := bytes.IndexByte(r.held, '\n')
	switch {
	case end < 0 && len(r.held) <= maxLine:
		return "", 0, errMore
	case end < 1 || end > maxLine || r.held[end-1] != '\r' || bytes.IndexByte(r.held[:end-1], '\r') >= 0:
		return "", 0, errors.New("a line of a chunked content is too long, or does not end as it should")
	}
	return string(r.held[:end-1]), end + 1, nil
}

// chunk reads the head of a chunk (RFC 9112, 7.1).
func (r *Follower) chunk() (int, error) {
	line, n, err := r.line()
	if err != nil {
		return 0, err
	}
	digits, _, _ := strings.Cut(line, ";")
	digits = strings.TrimRight(digits, " \t")
	size, err := strconv.ParseUint(digits, 16, 60)
	if err != nil || digits[0] == '+' {
		return 0, errors.New("the size of a chunk is not a number")
	}
	if size == 0 {
		r.next = r.trailer
	} else {
		r.left, r.next = int64(size), r.chunkData
	}
	return n, nil
}

func (r *Follower) chunkData() (int, error) { return r.data(r.chunkEnd) }

func (r *Follower) chunkEnd() (int, error) {
	line, n, err := r.line()
	if err == nil && line != "" {
		err = errors.New("a chunk is longer than it says")
	}
	if err != nil {
		return 0, err
	}
	r.next = r.chunk
	return n, nil
}

func (r *Follower) trailer() (int, error) {
	line, n, err := r.line()
	if err != nil {
		return 0, err
	}
	if line == "" {
		r.next = r.head
	}
	return n, nil
}

// beforeFrames reads the content of a request for a WebSocket, which should have none.
func (r *Follower) beforeFrames() (int, error) { return r.data(r.frames) }

// frames reads the beginning of a first frame of WebSocket, whose second byte says that it is
// masked, as all from clients are (RFC 6455, 5.1). A server that has not taken to it
// waits for another request: no part of such a one has that byte.
func (r *Follower) frames() (int, error) {
	switch {
	case len(r.held) < 2:
		return 0, errMore
	case r.held[1]&0x80 == 0:
		return 0, errors.New("what follows the upgrade is no frame of WebSocket")
	}
	r.next = r.anything
	return 0, nil
}

// anything passes all that comes.
func (r *Follower) anything() (int, error) {
	r.over = true
	return len(r.held), errMore
}
