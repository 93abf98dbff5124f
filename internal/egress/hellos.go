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
		r.next = r.anything
		return 0, nil
	}
	r.left, r.next = int64(recordHeaderLen+length), r.recordRest
	return 0, nil
}

func (r *Follower) recordRest() (int, error) { return r.data(r.record) }

// handshake looks at a handshake record. If it is no ClientHello, it is a later message of TLS
// 1.2, after which no server takes one in the clear.
func (r *Follower) handshake() (int, error) {
	length := int(r.held[3])<<8 | int(r.held[4])
	need := min(length, 2)
	if len(r.held) < recordHeaderLen+need {
		return 0, errMore
	}
	// That message may be encrypted (a resumed session): few of those look like this. OpenSSL takes
	// a ClientHello of 131,396 bytes, which the first one here cannot be.
	if body := r.held[recordHeaderLen:][:need]; body[0] != handshakeHello || need > 1 && body[1] > 2 {
		r.next = r.anything
		return 0, nil
	}
	h, err := readHello(r.held)
	switch {
	case errors.Is(err, errMore) && len(r.held) > maxHead:
		return 0, errors.New("the second TLS ClientHello is too long")
	case err != nil:
		return 0, err
	}
	if v := namedVerdict(r.port, r.candidates, h.name, "second TLS ClientHello"); v.Decision != Permit {
		r.refused = &v
		return 0, nil
	}
	r.next = r.record
	return h.length, nil
}
