package egress

import (
	"bytes"
	"errors"
	"strings"
)

const (
	// maxMethod is how long a word before a space may be to be a method's name.
	maxMethod = 32
	// maxRequestLine is how long a first line may be to be a request's.
	maxRequestLine = 8 << 10
)

// looksLikeHTTP reports whether bytes begin with the first line of an HTTP/1 request:
// a word in capitals and, at the line's end, the version. errMore is for too few of them.
func looksLikeHTTP(b []byte) (bool, error) {
	method := 0
	for method < len(b) && ('A' <= b[method] && b[method] <= 'Z' || b[method] == '-') {
		method++
	}
	switch {
	case method > maxMethod || method < len(b) && (method == 0 || b[method] != ' '):
		return false, nil
	case method == len(b):
		return false, errMore
	}
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0 && len(b) > maxRequestLine:
		return false, nil
	case end < 0:
		return false, errMore
	}
	return bytes.Contains(b[:end], []byte(" HTTP/1.")), nil
}

// requestHost returns the server that an HTTP/1 request is for (RFC 9112, 3.2), without its
// port: what Host says and, if the request has the absolute form, or is a CONNECT, what
// that says too. Both must agree. It is none for HTTP/1.0 without either. It takes
// nothing that servers could take differently: Host twice, folded lines, lines without a
// carriage return, white space before a colon.
func requestHost(b []byte) (string, error) {
	head, _, whole := bytes.Cut(b, []byte("\r\n\r\n"))
	switch {
	case !whole && bytes.Contains(b, []byte("\n\n")):
		return "", errors.New("a line ends without a carriage return")
	case !whole:
		return "", errMore // nothing slow before that: it may come byte by byte
	}
	for i, c := range head {
		switch {
		case c == '\n' && (i == 0 || head[i-1] != '\r'):
			return "", errors.New("a line ends without a carriage return")
		case c == '\r' && i+1 < len(head) && head[i+1] != '\n', c == 0:
			return "", errors.New("it has a control character")
		}
	}
	lines := strings.Split(string(head), "\r\n")
	method, rest, _ := strings.Cut(lines[0], " ")
	target, version, _ := strings.Cut(rest, " ")
	if target == "" || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return "", errors.New("its first line is not METHOD TARGET HTTP/1.1")
	}
	authority, err := targetHost(method, target)
	if err != nil {
		return "", err
	}
	host, has := "", false
	for _, line := range lines[1:] {
		name, value, colon := strings.Cut(line, ":")
		if !colon || name == "" || strings.ContainsAny(name, " \t") {
			return "", errors.New("a header is not NAME: VALUE on one line")
		}
		if !strings.EqualFold(name, "Host") {
			continue
		}
		if has {
			return "", errors.New("there are two Host headers")
		}
		has = true
		if host, err = withoutPort(strings.Trim(value, " \t")); err != nil {
			return "", err
		}
	}
	switch {
	case authority == "":
		return host, nil
	case has && !strings.EqualFold(strings.TrimSuffix(host, "."), strings.TrimSuffix(authority, ".")):
		return "", errors.New("its Host header and its first line name different servers")
	}
	return authority, nil
}

// targetHost returns the host of a request's target, or none for one that is only a path.
func targetHost(method, target string) (string, error) {
	if method == "CONNECT" {
		return withoutPort(target)
	}
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
