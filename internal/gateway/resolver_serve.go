package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	dnsPort = 53
	// streamsMax bounds the TCP connections to the resolver, streamIdle how long one
	// may be silent.
	streamsMax = 64
	streamIdle = 10 * time.Second
)

// serve answers on the resolver's addresses in a stack until that is closed.
func (r *resolver) serve(s *stack.Stack) error {
	streams := make(chan struct{}, streamsMax)
	for _, a := range []netip.Addr{Resolver4, Resolver6} {
		at := fullAddress(netip.AddrPortFrom(a, dnsPort))
		if err := r.serveDatagrams(s, at, protocolOf(a)); err != nil {
			return err
		}
		l, err := gonet.ListenTCP(s, at, protocolOf(a))
		if err != nil {
			return err
		}
		go r.serveStreams(l, streams)
	}
	return nil
}

func (r *resolver) serveDatagrams(s *stack.Stack, at tcpip.FullAddress, protocol tcpip.NetworkProtocolNumber) error {
	queue := new(waiter.Queue)
	ep, e := s.NewEndpoint(header.UDPProtocolNumber, protocol, queue)
	if e != nil {
		return errorOf(e)
	}
	if e := ep.Bind(at); e != nil {
		ep.Close()
		return errorOf(e)
	}
	go r.readDatagrams(ep, queue)
	return nil
}

// readDatagrams has each question answered on a goroutine of its own, of which there
// are a few more than may be asked outside: those that are told to fail.
func (r *resolver) readDatagrams(ep tcpip.Endpoint, queue *waiter.Queue) {
	defer ep.Close()
	entry, notified := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	workers := make(chan struct{}, questionsMax+questionsMax/4)
	for {
		var query bytes.Buffer
		result, err := ep.Read(&query, tcpip.ReadOptions{NeedRemoteAddr: true})
		switch err.(type) {
		case nil:
			workers <- struct{}{}
			go func() {
				defer func() { <-workers }()
				if answer := r.answer(query.Bytes(), false); answer != nil {
					ep.Write(bytes.NewReader(answer), tcpip.WriteOptions{To: &result.RemoteAddr})
				}
			}()
		case *tcpip.ErrWouldBlock:
			<-notified
		case *tcpip.ErrClosedForReceive:
			return
		}
	}
}

func (r *resolver) serveStreams(l *gonet.TCPListener, slots chan struct{}) {
	for {
		slots <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { <-slots }()
			defer c.Close()
			r.serveStream(c)
		}()
	}
}

// serveStream answers messages, each after its length (RFC 1035, section 4.2.2), until
// the connection ends or is silent.
func (r *resolver) serveStream(c net.Conn) {
	for {
		c.SetDeadline(time.Now().Add(streamIdle))
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		answer := r.answer(query, true)
		if answer == nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// errorOf is an error of the stack's as Go's.
func errorOf(e tcpip.Error) error { return errors.New(e.String()) }
