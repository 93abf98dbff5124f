package loader

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// scriptLine is how much of a file is looked at for "#!" (BINPRM_BUF_SIZE).
const scriptLine = 256

// isScript reports whether the file begins with "#!".
func isScript(head []byte) bool { return bytes.HasPrefix(head, []byte("#!")) }

// parseScript returns the interpreter and its one optional argument from the
// first line of a script, by the rules of Linux: white space around both is
// dropped, white space within the argument is kept. head holds scriptLine
// bytes, zeros after the end of the file. ENOEXEC if there is no interpreter
// or its name may be cut off.
func parseScript(head []byte) (interp, arg string, err error) {
	line := head[2 : len(head)-1]
	if nl := bytes.IndexByte(head[2:], '\n'); nl >= 0 {
		line = head[2 : 2+nl]
	} else if name := bytes.TrimLeft(line, " \t"); len(name) == 0 || !bytes.ContainsAny(name, " \t\x00") {
		return "", "", unix.ENOEXEC
	}
	line = bytes.Trim(line, " \t")
	name, rest := line, []byte(nil)
	if i := bytes.IndexAny(line, " \t\x00"); i >= 0 {
		name = line[:i]
		if line[i] != 0 {
			rest = bytes.TrimLeft(line[i:], " \t")
		}
	}
	if i := bytes.IndexByte(rest, 0); i >= 0 {
		rest = rest[:i]
	}
	if len(name) == 0 {
		return "", "", unix.ENOEXEC
	}
	return string(name), string(rest), nil
}
