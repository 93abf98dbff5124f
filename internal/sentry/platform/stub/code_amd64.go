package stub

import "fmt"

// The pieces of code_amd64.s, in order. They are never called from Go.
func stubText()
func stubHandler()
func stubPost()
func stubWait()
func stubGo()
func stubStore()
func stubDone()
func stubFixup()
func stubNext()
func stubForked()
func stubStart()
func stubExit()
func stubExitEnd()
func stubTextEnd()

// code tells where the pieces that the sentry must know are, as offsets from
// the beginning of the stub's text.
type code struct {
	text           uintptr // address in the sentry
	size           uintptr
	handler, start uintptr
	run, wait      uintptr
}

// symbols returns the addresses of stubText, stubHandler, stubStart, stubGo,
// stubWait and stubTextEnd in the sentry's own text.
func symbols() (text, handler, start, run, wait, end uintptr)

// findCode locates the stub's code. The linker keeps a file's functions
// together and in order; this is where it is checked.
func findCode() (code, error) {
	text, handler, start, run, wait, end := symbols()
	for _, p := range []uintptr{handler, start, run, wait} {
		if p <= text || p >= end {
			return code{}, fmt.Errorf("the stub's code is not in one piece in this binary (%#x is outside of [%#x, %#x)): it was linked in an unknown way", p, text, end)
		}
	}
	if end-text > textSize {
		return code{}, fmt.Errorf("the stub's code takes %d bytes, more than its page", end-text)
	}
	return code{
		text: text, size: end - text,
		handler: handler - text, start: start - text, run: run - text, wait: wait - text,
	}, nil
}
