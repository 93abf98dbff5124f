package hostnet

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dockerNames is where Docker's own name server is on user-defined networks, in each
// container's network namespace.
var dockerNames = netip.MustParseAddrPort("127.0.0.11:53")

// nameserver connects a socket to Docker's name server, if it listens in the thread's
// network namespace. It does so at another port, to which rules of the namespace lead.
func nameserver() (*os.File, error) {
	b, err := os.ReadFile("/proc/thread-self/net/udp")
	if err != nil {
		return nil, fmt.Errorf("looking for a name server in it: %w", err)
	}
	if !listensAt(b, dockerNames.Addr()) {
		return nil, nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket for the name server %s in it: %w", dockerNames, err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(dockerNames.Port()), Addr: dockerNames.Addr().As4()}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connecting to the name server %s in it: %w", dockerNames, err)
	}
	return os.NewFile(uintptr(fd), "name server"), nil
}

// listensAt reports whether a table of UDP sockets (/proc/net/udp, proc_pid_net(5)) has one
// that is bound to an address.
func listensAt(table []byte, a netip.Addr) bool {
	b := a.As4()
	// The address is a number in the processor's order of bytes, of which there is amd64's.
	local := fmt.Sprintf("%02X%02X%02X%02X:", b[3], b[2], b[1], b[0])
	for lines := bufio.NewScanner(bytes.NewReader(table)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && strings.HasPrefix(f[1], local) {
			return true
		}
	}
	return false
}
