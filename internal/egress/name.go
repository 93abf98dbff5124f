package egress

import (
	"errors"
	"fmt"
	"strings"
)

// canonicalName returns a host's name in lower case without its final dot. A name has
// 1 to 253 bytes; labels have 1 to 63 letters, digits, hyphens and underscores, and no hyphen at an end (RFC
// 1123, 2.1, and what is in use besides). Anything else is an error, so that two parsers
// cannot take one name for two: a name in another script is to be given in its ASCII form.
func canonicalName(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if s == "" {
		return "", errors.New("a name is missing")
	}
	if len(s) > 253 {
		return "", fmt.Errorf("a name of %d bytes; 253 are the most", len(s))
	}
	var label string
	for rest, more := s, true; more; {
		label, rest, more = strings.Cut(rest, ".")
		switch {
		case label == "":
			return "", errors.New("there is nothing between two dots of the name")
		case len(label) > 63:
			return "", fmt.Errorf("a part of the name has %d bytes; 63 are the most", len(label))
		case label[0] == '-' || label[len(label)-1] == '-':
			return "", errors.New("a part of the name begins or ends with a hyphen")
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_':
			case c >= 0x80:
				return "", errors.New("a name is written in ASCII; one in another script in its form that begins with xn--")
			case c == '*':
				return "", errors.New("a * stands alone or as the whole first part of a name, as in *.example.org")
			default:
				return "", fmt.Errorf("%q is not possible in a name", c)
			}
		}
	}
	// As browsers do: what ends in a number is a (mistyped) IPv4 address, since
	// inet_aton(3) takes 10.1 and 0x7f.1 for addresses.
	if isNumber(label) {
		return "", fmt.Errorf("%q ends in a number and is no IPv4 address of four", s)
	}
	return strings.ToLower(s), nil
}

// isNumber reports whether inet_aton(3) could take a name's last part for a number.
func isNumber(label string) bool {
	digits := "0123456789"
	if len(label) >= 2 && label[0] == '0' && label[1]|0x20 == 'x' {
		label, digits = label[2:], "0123456789abcdefABCDEF"
	}
	return strings.Trim(label, digits) == ""
}
