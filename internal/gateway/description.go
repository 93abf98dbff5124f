package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"

	"coffer/internal/egress"
	"coffer/internal/handover"

	"golang.org/x/sys/unix"
)

// description is what the helper is told. Descriptors in it are the helper's.
type description struct {
	// Link is the gateway's end of the link.
	Link int
	// Questions is the gateway's end of Gateway.Questions, or 0.
	Questions int
	// Listeners are where published ports are listened on.
	Listeners []listener
	DNS       []netip.AddrPort
	Hosts     []Host
	Egress    *egress.Policy
	// EgressLog takes refusals as JSON lines; 0 is text on standard error.
	EgressLog int
	// Addresses are sockets of addressListers, if there is a policy.
	Addresses []int
	// Detached says not to end with who has started the helper.
	Detached bool
}

// listener is a socket of the host's for a published port.
type listener struct {
	FD   int
	UDP  bool
	Port uint16 // the sandbox's
}

// The helper's first descriptors. Those that the description names follow.
const (
	fdDescription = 3
	// fdControl is a socket to whoever has started the helper: one line comes back
	// when it serves, and the helper ends when the other end does.
	fdControl = 4
	fdFirst   = 5
)

// file returns a file in memory that has the description.
func (d *description) file() (*os.File, error) {
	data, err := handover.Encode(d)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("gateway", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "gateway")
	if _, err = f.Write(data); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("writing the gateway's description: %w", err)
	}
	return f, nil
}

// readDescription reads what file has made. It comes from coffer itself.
func readDescription() (*description, error) {
	f := os.NewFile(fdDescription, "description")
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("reading the gateway's description: %w", err)
	}
	d := new(description)
	if err := handover.Decode(data, d); err != nil {
		return nil, fmt.Errorf("the gateway's description is not what it should be: %w", err)
	}
	return d, nil
}

// nameServers are the addresses of name servers, with zones as numbers: the helper
// cannot look interfaces up.
func nameServers(addresses []netip.Addr) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for _, a := range addresses {
		if a.Zone() != "" {
			if _, err := strconv.ParseUint(a.Zone(), 10, 32); err != nil {
				i, err := net.InterfaceByName(a.Zone())
				if err != nil {
					return nil, fmt.Errorf("the name server %s: there is no interface %s (%w): name another server with --dns", a, a.Zone(), errors.Unwrap(err))
				}
				a = a.WithZone(strconv.Itoa(i.Index))
			}
		}
		list = append(list, netip.AddrPortFrom(a.Unmap(), dnsPort))
	}
	return list, nil
}
