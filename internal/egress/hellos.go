package egress

import "errors"

// A server of TLS 1.3 that cannot do with a ClientHello asks for another one (RFC 8446, 4.1.4),
// and some go by the name in that. So a client's records are followed until none can be a
// ClientHello any more.

// firstHello passes the records of the first ClientHello, whose name has been compared.
func (r *Follower) firstHello() (int, error) {
	h, err := readHello(r.held)
	if err != nil {
		return 0, err
	}
	r.early, r.next = h.early, r.record
	return h.length, nil
}

// record looks at the beginning of a record.
func (r *Follower) record() (int, error) {
	if len(r.held) < recordHeaderLen {
		return 0, errMore
	}
	kind, length := r.held[0], int(r.held[3])<<8|int(r.held[4])
	switch {
	case kind < recordCipher || kind > recordHeartbeat || r.held[1] != 3 || length == 0 || length > maxEncrypted:
		return 0, errors.New("what follows the TLS ClientHello is no record of TLS")
	case kind == recordHandshake:
		r.next = r.handshake
		return 0, nil
	case kind == recordData && !r.early:
		// It is encrypted, and so will be all that follows. A server that does not want early data
		// may pass over it, up to a second ClientHello.
		r.hello, r.next = nil, r.anything
		return 0, nil
	}
	r.left, r.next = int64(recordHeaderLen+length), r.recordRest
	return 0, nil
}

func (r *Follower) recordRest() (int, error) { return r.data(r.record) }

// The shortest ClientHello has a version, a random, and one cipher suite and compression method;
// one without extensions says no name. OpenSSL takes none that is longer than longestHello.
const (
	shortestHello = 2 + helloRandomLen + 1 + 4 + 2
	longestHello  = 131396
)

// handshake takes a handshake record. If that is no part of a ClientHello, it is a later message
// of TLS 1.2, after which no server takes one in the clear.
//
// That message may be encrypted (a session is resumed) and look like the beginning of one: its first
// bytes can be random. So a part of a ClientHello is not held back until the rest comes, which
// then never would, but the record that ends it is: a server can do nothing with less. What is
// encrypted ends with other records than these.
func (r *Follower) handshake() (int, error) {
	length := recordHeaderLen + (int(r.held[3])<<8 | int(r.held[4]))
	if len(r.held) < length {
		return 0, errMore
	}
	r.hello = append(r.hello, r.held[recordHeaderLen:length]...)
	r.next = r.record
	if r.hello[0] != handshakeHello {
		r.hello, r.next = nil, r.anything
		return length, nil
	}
	if len(r.hello) < handshakeHeadLen {
		return length, nil
	}
	size := int(r.hello[1])<<16 | int(r.hello[2])<<8 | int(r.hello[3])
	body := r.hello[handshakeHeadLen:]
	switch {
	case size < shortestHello || size > longestHello:
		r.hello, r.next = nil, r.anything
		return length, nil
	case len(body) < size && len(r.hello) <= maxHello:
		return length, nil
	case len(body) < size:
		return 0, errors.New("the second TLS ClientHello is too long")
	case len(body) > size:
		return 0, errors.New("something follows the second TLS ClientHello in its record")
	}
	h, err := parseHello(body)
	if err != nil {
		return 0, err
	}
	if v := namedVerdict(r.port, r.candidates, h.name, "second TLS ClientHello"); v.Decision != Permit {
		r.refused = &v
		return 0, nil
	}
	r.hello = nil
	return length, nil
}
