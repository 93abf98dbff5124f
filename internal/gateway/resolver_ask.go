package gateway

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

const (
	// askTime is how long the host's resolvers have, all in all: less than clients
	// wait before they ask again (resolv.conf(5) has 5 seconds).
	askTime = 4500 * time.Millisecond
	// askAgain is after which silence a datagram is sent once more, to the next one.
	askAgain = 1500 * time.Millisecond
)

// askSilent is how long they have after they have not said anything the last time: who
// waits for a name waits for several questions, one after the other.
const askSilent = time.Second

// ask has the host's name servers answer a query. It returns nil if none does. What
// it returns has an ID of our own.
func (r *resolver) ask(query []byte, q dnsmessage.Question, stream bool) []byte {
	if len(r.servers) == 0 {
		return nil
	}
	patience := askTime
	if r.silent.Load() {
		patience = askSilent
	}
	deadline := time.Now().Add(patience)
	answers := make(chan []byte)
	over := make(chan struct{})
	defer close(over)
	// Whoever is asked answers or is given up, and with the first good answer all
	// others are. Each try has a port and an ID of its own, so that nobody can guess
	// both.
	try := func(server netip.AddrPort) {
		query := bytes.Clone(query)
		rand.Read(query[:2])
		var answer []byte
		if stream {
			answer = askStream(server, query, deadline, over)
		} else {
			answer = askDatagram(server, query, deadline, over)
		}
		if !answersQuestion(query, answer, q) {
			answer = nil
		}
		select {
		case answers <- answer:
		case <-over:
		}
	}
	// Silence has a try repeated once for each server, and twice for a single one.
	tries := max(2*len(r.servers), 3)
	asked, waiting := 0, 0
	next := time.NewTimer(0)
	defer next.Stop()
	var last []byte
	for {
		select {
		case <-next.C:
			if asked == tries {
				continue
			}
			go try(r.servers[asked%len(r.servers)])
			asked++
			waiting++
			next.Reset(askAgain)
		case answer := <-answers:
			waiting--
			if answer != nil {
				r.silent.Store(false)
				if !failed(answer) {
					return answer
				}
				last = answer
			}
			switch {
			case asked < len(r.servers):
				next.Reset(0) // the next one may do better
			case waiting == 0:
				return last // all have been asked, and none is silent
			}
		case <-time.After(time.Until(deadline)):
			r.silent.Store(last == nil)
			return last
		}
	}
}

// failed reports whether an answer says that its server could not find out.
func failed(answer []byte) bool {
	code := dnsmessage.RCode(answer[3] & 0xf)
	return code == dnsmessage.RCodeServerFailure || code == dnsmessage.RCodeRefused || code == dnsmessage.RCodeNotImplemented
}

// answersQuestion reports whether a message is an answer to a query of a question.
func answersQuestion(query, answer []byte, q dnsmessage.Question) bool {
	var p dnsmessage.Parser
	h, err := p.Start(answer)
	if err != nil || !h.Response || h.ID != binary.BigEndian.Uint16(query) {
		return false
	}
	got, err := p.Question()
	if err == dnsmessage.ErrSectionDone {
		return h.RCode != dnsmessage.RCodeSuccess // who did not understand need not repeat it
	}
	return err == nil && got.Type == q.Type && got.Class == q.Class && strings.EqualFold(got.Name.String(), q.Name.String())
}

// closeWhenOver closes a socket when it is no longer needed.
func closeWhenOver(s *socket, over <-chan struct{}) (done func()) {
	ended := make(chan struct{})
	go func() {
		select {
		case <-over:
		case <-ended:
		}
		s.close()
	}()
	return func() { close(ended) }
}

// askDatagram asks one server over UDP.
func askDatagram(server netip.AddrPort, query []byte, deadline time.Time, over <-chan struct{}) []byte {
	s, err := dial(server, unix.SOCK_DGRAM, 0, 0)
	if err != nil {
		return nil
	}
	defer closeWhenOver(s, over)()
	s.file.SetReadDeadline(deadline)
	if _, err := s.send(query); err != nil {
		return nil
	}
	answer := make([]byte, dnsMax)
	for {
		n, err := s.receive(answer)
		if err != nil {
			return nil
		}
		// Another's answer may come from the same address by chance or by malice.
		if n >= 12 && bytes.Equal(answer[:2], query[:2]) {
			return bytes.Clone(answer[:n])
		}
	}
}

// askStream asks one server over TCP.
func askStream(server netip.AddrPort, query []byte, deadline time.Time, over <-chan struct{}) []byte {
	s, err := dial(server, unix.SOCK_STREAM, 0, time.Until(deadline))
	if err != nil {
		return nil
	}
	defer closeWhenOver(s, over)()
	s.file.SetDeadline(deadline)
	message := append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	if s.sendAll(message) != nil {
		return nil
	}
	var length [2]byte
	if _, err := io.ReadFull(s, length[:]); err != nil {
		return nil
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(s, answer); err != nil || len(answer) < 12 {
		return nil
	}
	return answer
}
