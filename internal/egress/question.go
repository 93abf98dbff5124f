package egress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
)

// Question is what a sentry asks a gateway before a program's connect(2) or sendto(2), so
// that it can fail at once. It goes over a SOCK_SEQPACKET socket, one in each message, and
// is answered with a Reply.
type Question struct {
	// ID is the asker's, and comes back in the Reply.
	ID uint64
	// Protocol is IPPROTO_TCP, IPPROTO_UDP and so on.
	Protocol uint8
	// From may be unspecified, and its port 0, as long as the socket is not bound.
	From, To netip.AddrPort
	PID      int32
	Command  string
}

// Reply answers the question with its ID.
type Reply struct {
	ID        uint64
	Permitted bool
}

// QuestionLen is the length of an encoded question.
const QuestionLen = 8 + 1 + 2*18 + 4 + maxCommand

const (
	replyLen = 9
	// maxCommand is TASK_COMM_LEN (prctl(2), PR_SET_NAME).
	maxCommand = 16
)

// Append encodes the question: numbers are little-endian, addresses IPv6 ones with their
// port behind, the command is filled up with zeros.
func (q *Question) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, q.ID)
	b = append(b, q.Protocol)
	for _, a := range [...]netip.AddrPort{q.From, q.To} {
		addr := a.Addr()
		if !addr.IsValid() {
			addr = netip.IPv6Unspecified()
		}
		b16 := addr.As16()
		b = append(b, b16[:]...)
		b = binary.LittleEndian.AppendUint16(b, a.Port())
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(q.PID))
	var command [maxCommand]byte
	copy(command[:maxCommand-1], q.Command)
	return append(b, command[:]...)
}

// ParseQuestion decodes a message. Its command is as hostile as any guest's.
func ParseQuestion(b []byte) (Question, error) {
	if len(b) != QuestionLen {
		return Question{}, errors.New("a question of another length")
	}
	q := Question{ID: binary.LittleEndian.Uint64(b), Protocol: b[8]}
	b = b[9:]
	for _, a := range [...]*netip.AddrPort{&q.From, &q.To} {
		*a = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), binary.LittleEndian.Uint16(b[16:]))
		b = b[18:]
	}
	q.PID = int32(binary.LittleEndian.Uint32(b))
	command, _, _ := bytes.Cut(b[4:], []byte{0})
	q.Command = strings.ToValidUTF8(string(command), "\uFFFD")
	return q, nil
}

// Append encodes the reply.
func (r *Reply) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, r.ID)
	if r.Permitted {
		return append(b, 1)
	}
	return append(b, 0)
}

// ParseReply decodes a message.
func ParseReply(b []byte) (Reply, error) {
	if len(b) != replyLen || b[8] > 1 {
		return Reply{}, errors.New("a reply of another form")
	}
	return Reply{ID: binary.LittleEndian.Uint64(b), Permitted: b[8] == 1}, nil
}
