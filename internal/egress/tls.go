package egress

import "errors"

const (
	recordCipher      = 20 // change_cipher_spec
	recordAlert       = 21
	recordHandshake   = 22
	recordData        = 23
	recordHeartbeat   = 24
	maxRecord         = 1 << 14
	maxEncrypted      = maxRecord + 2048 // RFC 5246, 6.2.3
	maxHello          = 1 << 14
	handshakeHello    = 1
	extensionName     = 0
	extensionEarly    = 42 // early_data
	nameTypeHost      = 0
	recordHeaderLen   = 5
	handshakeHeadLen  = 4
	helloRandomLen    = 32
	helloMaxSessionID = 32
)

// looksLikeTLS reports whether bytes, at least one, begin with what any server could take for a
// record before a handshake or of it, though helloMessage does not: some pass over alerts, or over
// the version of the first record. errMore is for too few of them.
func looksLikeTLS(b []byte) (bool, error) {
	switch {
	case b[0] != recordHandshake && b[0] != recordAlert, len(b) > 1 && b[1] > 0xf:
		return false, nil
	case b[0] == recordHandshake && (len(b) < 2 || b[1] == 3):
		return true, nil
	case len(b) <= recordHeaderLen:
		return false, errMore
	}
	length := int(b[3])<<8 | int(b[4])
	if b[0] == recordAlert {
		return length == 1 || length == 2, nil
	}
	return 0 < length && length <= maxRecord && b[recordHeaderLen] == handshakeHello, nil
}

// helloParts is what counts of a ClientHello.
type helloParts struct {
	// name is the server's; "" if there is none.
	name string
	// length is that of its records.
	length int
	// early says that data may come before the server has answered.
	early bool
}

// serverName returns the server's name in a TLS ClientHello.
func serverName(b []byte) (string, error) {
	h, err := readHello(b)
	return h.name, err
}

// readHello reads a TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3), which
// may be spread over several records. With
// Encrypted ClientHello the name is the outer one: that of whoever can decrypt the inner one. It takes
// nothing that servers could take differently: the extension twice, several
// names, lengths that do not add up.
func readHello(b []byte) (h helloParts, err error) {
	hello, length, err := helloMessage(b)
	if err != nil {
		return h, err
	}
	h, err = parseHello(hello)
	h.length = length
	return h, err
}

// parseHello reads what follows the header of a ClientHello.
func parseHello(hello []byte) (h helloParts, err error) {
	r := reader{b: hello}
	r.take(2 + helloRandomLen)
	if id := r.vector(1); len(id) > helloMaxSessionID {
		return h, errors.New("the session ID is too long")
	}
	if suites := r.vector(2); len(suites) == 0 || len(suites)%2 != 0 {
		return h, errors.New("the cipher suites are not pairs of bytes")
	}
	if methods := r.vector(1); len(methods) == 0 {
		return h, errors.New("there is no compression method")
	}
	if !r.bad && len(r.b) == 0 {
		return h, nil // without extensions, as before TLS 1.2
	}
	extensions := reader{b: r.vector(2)}
	if r.bad || len(r.b) != 0 {
		return h, errors.New("its lengths do not add up")
	}
	seen := false
	for len(extensions.b) > 0 && !extensions.bad {
		kind := extensions.number(2)
		body := extensions.vector(2)
		h.early = h.early || kind == extensionEarly
		if kind != extensionName {
			continue
		}
		if seen {
			return h, errors.New("there are two server name extensions")
		}
		seen = true
		if h.name, err = hostIn(body); err != nil {
			return h, err
		}
	}
	if extensions.bad {
		return h, errors.New("the lengths of its extensions do not add up")
	}
	return h, nil
}

// helloMessage joins the records of a ClientHello, and returns it without its header, and
// how long they are.
func helloMessage(b []byte) (message []byte, length int, err error) {
	all := len(b)
	for {
		if len(b) < recordHeaderLen {
			return nil, 0, errMore
		}
		length := int(b[3])<<8 | int(b[4])
		switch {
		case b[0] != recordHandshake || b[1] != 3:
			return nil, 0, errors.New("another record comes before its end")
		case length == 0 || length > maxRecord:
			return nil, 0, errors.New("a record has an impossible length")
		}
		b = b[recordHeaderLen:]
		if len(b) < length {
			// Of a record that is not whole only the message's head is looked at, since
			// it may come byte by byte.
			message = append(message, b[:min(len(b), handshakeHeadLen)]...)
			if _, err := helloLength(message); err != nil {
				return nil, 0, err // errMore, too
			}
			return nil, 0, errMore
		}
		message = append(message, b[:length]...)
		b = b[length:]
		total, err := helloLength(message)
		switch {
		case err == errMore:
		case err != nil:
			return nil, 0, err
		case len(message) > total:
			return nil, 0, errors.New("something follows it in its record")
		case len(message) == total:
			return message[handshakeHeadLen:], all - len(b), nil
		}
	}
}

// helloLength returns the length of a ClientHello with its header, of which this is a part.
func helloLength(message []byte) (int, error) {
	if len(message) > 0 && message[0] != handshakeHello {
		return 0, errors.New("the handshake begins with something else")
	}
	if len(message) < handshakeHeadLen {
		return 0, errMore
	}
	length := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
	if length > maxHello {
		return 0, errors.New("it is too long")
	}
	return handshakeHeadLen + length, nil
}

// hostIn returns the one name of a server name extension.
func hostIn(body []byte) (string, error) {
	r := reader{b: body}
	names := reader{b: r.vector(2)}
	kind := names.number(1)
	name := names.vector(2)
	if r.bad || names.bad || len(r.b) != 0 || len(names.b) != 0 || kind != nameTypeHost || len(name) == 0 {
		return "", errors.New("the server name extension has not one host name")
	}
	return string(name), nil
}

// reader takes fields off bytes. What is too short makes it bad, and all further ones empty.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// number takes a big-endian number of n bytes.
func (r *reader) number(n int) int {
	v := 0
	for _, c := range r.take(n) {
		v = v<<8 | int(c)
	}
	return v
}

// vector takes what has its length before it, in n bytes.
func (r *reader) vector(n int) []byte { return r.take(r.number(n)) }
