package tty

// mark says what a byte of input is to a reader of lines.
type mark uint8

const (
	plain mark = iota
	// endOfLine ends a line and is part of it.
	endOfLine
	// endOfFile ends a line and is not part of it.
	endOfFile
)

// inputQueue holds what the slave has not read. head, line and tail count
// bytes since the beginning; they index modulo inputSize, and
// tail <= line <= head: up to line, lines are complete and can be read.
type inputQueue struct {
	bytes            [inputSize]byte
	marks            [inputSize]mark
	tail, line, head uint64
}

func (q *inputQueue) at(i uint64) byte     { return q.bytes[i%inputSize] }
func (q *inputQueue) markAt(i uint64) mark { return q.marks[i%inputSize] }

// len is how much is queued, line end or not.
func (q *inputQueue) len() int { return int(q.head - q.tail) }

// room is how many bytes fit besides a line's end.
func (q *inputQueue) room() int { return inputSize - 1 - q.len() }

// put appends a byte that there is room for, or one that ends a line, for
// which there always is.
func (q *inputQueue) put(c byte, m mark) {
	q.bytes[q.head%inputSize], q.marks[q.head%inputSize] = c, m
	q.head++
	if m != plain {
		q.line = q.head
	}
}

func (q *inputQueue) clear() { q.tail, q.line = q.head, q.head }

// setCanonical regroups what is queued when the mode changes: as Linux does,
// unread bytes become one line that can be read at once.
func (q *inputQueue) setCanonical(on bool) {
	q.line = q.tail
	if q.head == q.tail {
		return
	}
	last := q.markAt(q.head - 1)
	for i := q.tail; i < q.head; i++ {
		q.marks[i%inputSize] = plain
	}
	if !on {
		return
	}
	if last != endOfFile {
		last = endOfLine
	}
	q.marks[(q.head-1)%inputSize] = last
	q.line = q.head
}

// takeLine copies from the first complete line. A line longer than p is
// continued by the next call; an end of file that follows what filled p is
// consumed with it, so that it is not seen as a second end.
func (q *inputQueue) takeLine(p []byte) int {
	n := 0
	for q.tail < q.line {
		c, m := q.at(q.tail), q.markAt(q.tail)
		if m == endOfFile {
			q.tail++
			return n
		}
		if n == len(p) {
			return n
		}
		p[n] = c
		n++
		q.tail++
		if m == endOfLine {
			return n
		}
	}
	return n
}

// take copies whatever is queued.
func (q *inputQueue) take(p []byte) int {
	n := 0
	for n < len(p) && q.tail < q.head {
		start := int(q.tail % inputSize)
		m := copy(p[n:], q.bytes[start:min(inputSize, start+q.len())])
		n += m
		q.tail += uint64(m)
	}
	q.line = max(q.line, q.tail)
	return n
}

// countLines is what FIONREAD tells in canonical mode: the bytes of complete
// lines without the marks of end of file.
func (q *inputQueue) countLines() int {
	n := 0
	for i := q.tail; i < q.line; i++ {
		if q.markAt(i) != endOfFile {
			n++
		}
	}
	return n
}
