package egress

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// blanks are what servers that are lenient (RFC 9112, 3) take for a space.
const blanks = " \t\v\f\r\x1c\x1d\x1e\x1f\x85\xa0"

// http2Preface is the first line of HTTP/2 (RFC 9113, 3.4), which names nobody in plain text.
const http2Preface = "PRI * HTTP/2.0\r"

// looksLikeHTTP reports whether bytes begin with what any server could take for the first line of
// an HTTP/1 request, though readRequest does not: a word, a blank and, later in the line, a
// version. errMore is for too few of them. Empty lines before it, which servers pass over (RFC
// 9112, 2.2), make it no less one.
func looksLikeHTTP(b []byte) (bool, error) {
	b = bytes.TrimLeft(b, blanks+"\n")
	method := 0
	for method < len(b) && isTokenByte(b[method]) {
		method++
	}
	switch {
	case method == len(b):
		return false, errMore
	case method == 0 || strings.IndexByte(blanks+"\n", b[method]) < 0:
		return false, nil
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	switch {
	case !isLetter(b[0]) && bytes.ContainsFunc(line, isControl):
		return false, nil // BER (LDAP) begins with a 0, then has a length
	case !whole:
		return false, errMore
	case string(line) == http2Preface:
		return false, nil
	}
	line = bytes.ToLower(line)
	for {
		at := bytes.Index(line, []byte("http/"))
		switch {
		case at < 0:
			return false, nil
		case at > 0 && strings.IndexByte(blanks, line[at-1]) >= 0:
			return true, nil
		}
		line = line[at+1:]
	}
}

// couldBeHTTP reports whether a server that takes less for the end of a line could take bytes for
// the first one of an HTTP/1 request. While they could not, nobody can answer what
// they begin, and who sends them may wait for an answer to them alone.
func couldBeHTTP(b []byte) bool {
	is, err := looksLikeHTTP(append(bytes.Clone(b), '\n'))
	return is || err != nil
}

// isControl reports whether a character is a control character, and no blank.
func isControl(c rune) bool { return (c < ' ' || c == 0x7f) && !strings.ContainsRune(blanks, c) }

// request is what the head of an HTTP/1 request says.
type request struct {
	// host is the server that it is for, without its port; "" if it names none.
	host string
	// head is the head's length, length that of the content behind it, unless that is chunked.
	head, length int64
	chunked      bool
	// webSocket says that frames of WebSocket may follow instead of requests.
	webSocket bool
}

// requestHost returns the server that an HTTP/1 request is for (RFC 9112, 3.2), without its
// port: what Host says and, if the request has the absolute form, what that says too.
func requestHost(b []byte) (string, error) {
	r, err := readRequest(b)
	return r.host, err
}

// readRequest reads a request's head. The server is what Host says and, if the request has the
// absolute form, what that says too; both must agree. It takes nothing that servers could
// take differently: Host or a length twice, folded lines, lines without a carriage return,
// white space before a colon, chunks in HTTP/1.0. Nor CONNECT: behind it comes what is not
// HTTP if the server agrees, and requests for anybody if it does not.
func readRequest(b []byte) (request, error) {
	head, _, whole := bytes.Cut(b, []byte("\r\n\r\n"))
	switch {
	case !whole && bytes.Contains(b, []byte("\n\n")):
		return request{}, errors.New("a line ends without a carriage return")
	case !whole:
		return request{}, errMore // nothing slow before that: it may come byte by byte
	}
	for i, c := range head {
		switch {
		case c == '\n' && (i == 0 || head[i-1] != '\r'):
			return request{}, errors.New("a line ends without a carriage return")
		case c == '\r' && i+1 < len(head) && head[i+1] != '\n', c == 0:
			return request{}, errors.New("it has a control character")
		}
	}
	lines := strings.Split(string(head), "\r\n")
	method, rest, _ := strings.Cut(lines[0], " ")
	target, version, _ := strings.Cut(rest, " ")
	if !isWord(method) || target == "" || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return request{}, errors.New("its first line is not METHOD TARGET HTTP/1.1")
	}
	if method == "CONNECT" {
		return request{}, errors.New("it asks for a way through (CONNECT), which only a rule by address permits")
	}
	r := request{head: int64(len(head)) + 4}
	authority, err := targetHost(target)
	if err != nil {
		return request{}, err
	}
	h, err := readHeaders(lines[1:])
	if err != nil {
		return request{}, err
	}
	if r.length, r.chunked, err = h.content(); err != nil {
		return request{}, err
	}
	if r.chunked && version == "HTTP/1.0" {
		return request{}, errors.New("it has a transfer coding, which HTTP/1.0 does not know")
	}
	if r.chunked && h.hasUpgrade {
		return request{}, errors.New("it has both an upgrade and a transfer coding")
	}
	r.webSocket = strings.EqualFold(h.upgrade, "websocket")
	if r.host, err = withoutPort(h.host); err != nil {
		return request{}, err
	}
	if authority != "" {
		if h.hasHost && !strings.EqualFold(strings.TrimSuffix(r.host, "."), strings.TrimSuffix(authority, ".")) {
			return request{}, errors.New("its Host header and its first line name different servers")
		}
		r.host = authority
	}
	return r, nil
}

// isWord reports whether a method is letters, digits, hyphens and underscores, as all are.
func isWord(s string) bool {
	for _, c := range []byte(s) {
		if !(isLetter(c) || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

// isToken reports whether a header's name has nothing but what names have (RFC 9110, 5.6.2):
// servers might pass over the rest.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !isTokenByte(c) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	return isLetter(c) || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// headers are those of a request that count here.
type headers struct {
	host, length, coding, upgrade             string
	hasHost, hasLength, hasCoding, hasUpgrade bool
}

func readHeaders(lines []string) (headers, error) {
	var h headers
	for _, line := range lines {
		name, value, colon := strings.Cut(line, ":")
		if !colon || !isToken(name) {
			return h, errors.New("a header is not NAME: VALUE on one line")
		}
		for _, known := range []struct {
			name  string
			value *string
			has   *bool
		}{
			{"Host", &h.host, &h.hasHost},
			{"Content-Length", &h.length, &h.hasLength},
			{"Transfer-Encoding", &h.coding, &h.hasCoding},
			{"Upgrade", &h.upgrade, &h.hasUpgrade},
		} {
			if !strings.EqualFold(name, known.name) {
				continue
			}
			if *known.has {
				return h, fmt.Errorf("there are two %s headers", known.name)
			}
			*known.value, *known.has = strings.Trim(value, " \t"), true
		}
	}
	return h, nil
}

// content returns how long a request's content is (RFC 9112, 6.3).
func (h *headers) content() (length int64, chunked bool, err error) {
	switch {
	case h.hasLength && h.hasCoding:
		return 0, false, errors.New("it has both a length and a transfer coding")
	case h.hasCoding && !strings.EqualFold(h.coding, "chunked"):
		return 0, false, errors.New("its transfer coding is not chunked")
	case h.hasCoding:
		return 0, true, nil
	case !h.hasLength:
		return 0, false, nil
	}
	n, err := strconv.ParseUint(h.length, 10, 63)
	if err != nil || h.length[0] == '+' {
		return 0, false, errors.New("its length is not a number")
	}
	return int64(n), false, nil
}

// targetHost returns the host of a request's target, or none for one that is only a path.
func targetHost(target string) (string, error) {
	if target[0] == '/' || target == "*" {
		return "", nil
	}
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", errors.New("its target is neither a path nor an http URL")
	}
	if end := strings.IndexAny(rest, "/?#\\"); end >= 0 {
		rest = rest[:end]
	}
	if rest == "" {
		return "", errors.New("the URL of its target has no host")
	}
	return withoutPort(rest)
}

// withoutPort returns the host of "host:port" or "host".
func withoutPort(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return s, nil // an IPv6 address, which agrees with no name
	}
	host, port, has := strings.Cut(s, ":")
	if has && strings.Trim(port, "0123456789") != "" {
		return "", errors.New("a port is not a number")
	}
	if strings.ContainsAny(host, "@ \t,") {
		return "", errors.New("a host has characters that no name has")
	}
	return host, nil
}
