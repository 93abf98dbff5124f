package tty

import "golang.org/x/sys/unix"

// erasure says how far erase goes back.
type erasure int

const (
	eraseCharacter erasure = iota
	eraseWord
	eraseLine
)

// kill handles the KILL character: the line is dropped, and shown as erased,
// or as struck out if the modes don't ask for erasing.
func (d *Discipline) kill() {
	t := &d.term
	if d.in.head == d.in.line {
		return
	}
	if !t.lflag(unix.ECHO) {
		d.in.head = d.in.line
		return
	}
	if t.lflag(unix.ECHOK) && t.lflag(unix.ECHOKE) && t.lflag(unix.ECHOE) {
		d.erase(eraseLine)
		return
	}
	d.in.head = d.in.line
	d.endErasure()
	d.echo(t.CC[unix.VKILL])
	if t.lflag(unix.ECHOK) {
		d.echoRaw('\n')
	}
}

// erase takes back what was typed on the present line.
func (d *Discipline) erase(what erasure) {
	t, q := &d.term, &d.in
	if q.head == q.line {
		return
	}
	inWord := false
	for q.head > q.line {
		// One character is several bytes in UTF-8.
		head := q.head - 1
		for t.continues(q.at(head)) && head > q.line {
			head--
		}
		c := q.at(head)
		if t.continues(c) {
			break
		}
		if what == eraseWord {
			if isAlnum(c) || c == '_' {
				inWord = true
			} else if inWord {
				break
			}
		}
		end := q.head
		q.head = head
		if t.lflag(unix.ECHO) {
			d.showErased(what, c, end)
		}
		if what == eraseCharacter {
			break
		}
	}
	if q.head == q.line && t.lflag(unix.ECHO) {
		d.endErasure()
	}
}

// showErased echoes that the character c, whose bytes end at end, is gone.
func (d *Discipline) showErased(what erasure, c byte, end uint64) {
	t, q := &d.term, &d.in
	switch {
	case t.lflag(unix.ECHOPRT):
		// A printing terminal shows what is erased between \ and /.
		if !d.erasing {
			d.echoRaw('\\')
			d.erasing = true
		}
		d.echo(c)
		for i := q.head + 1; i < end; i++ {
			d.echoRaw(q.at(i))
		}
	case what == eraseCharacter && !t.lflag(unix.ECHOE):
		d.echo(t.CC[unix.VERASE])
	case c == '\t':
		for range d.tabWidth() {
			d.echoRaw('\b')
		}
	default:
		columns := 1
		if isControl(c) {
			columns = 0
			if t.lflag(unix.ECHOCTL) {
				columns = 2
			}
		}
		for range columns {
			d.echoRaw('\b')
			d.echoRaw(' ')
			d.echoRaw('\b')
		}
	}
}

// tabWidth is how many columns the tab took that was just removed from the
// end of the line: back to the next stop from where what is before it ends.
func (d *Discipline) tabWidth() int {
	columns, sinceTab := 0, false
	for i := d.in.head; i > d.in.line; i-- {
		c := d.in.at(i - 1)
		if c == '\t' {
			sinceTab = true
			break
		}
		if isControl(c) {
			if d.term.lflag(unix.ECHOCTL) {
				columns += 2
			}
		} else if !d.term.continues(c) {
			columns++
		}
	}
	if !sinceTab {
		columns += d.lineColumn
	}
	return 8 - columns&7
}

// endErasure closes what ECHOPRT opened.
func (d *Discipline) endErasure() {
	if d.erasing {
		d.erasing = false
		d.echoRaw('/')
	}
}

func isControl(c byte) bool { return c < 0x20 || c == 0x7f }

// Letters are those of ISO 8859-1, as everywhere in the kernel; 0xd7 and 0xf7
// are signs, and 0xdf and 0xff are small letters without a capital.

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' || c >= 0xc0 && c <= 0xde && c != 0xd7 }

func isLower(c byte) bool { return c >= 'a' && c <= 'z' || c >= 0xe0 && c <= 0xfe && c != 0xf7 }

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || isUpper(c) || isLower(c) || c == 0xdf || c == 0xff
}
