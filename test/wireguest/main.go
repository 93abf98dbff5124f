// Command wireguest has sockets that a test calls from outside: it reads lines of the
// form "ID VERB ARGUMENTS" from standard input, makes each call in a goroutine of its
// own, since it may block, and answers "ID RESULT" or "ID error ERRNO". Sockets have names that
// the test gives them.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

var (
	mu      sync.Mutex
	sockets = map[string]int{}
	out     sync.Mutex
)

func main() {
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		go func() {
			result, err := call(words[1], words[2:])
			if err != nil {
				result = "error " + name(err)
			}
			out.Lock()
			defer out.Unlock()
			fmt.Println(words[0], result)
		}()
	}
}

func name(err error) string {
	if e := unix.Errno(0); errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return err.Error()
}

func socket(name string) int {
	mu.Lock()
	defer mu.Unlock()
	if fd, ok := sockets[name]; ok {
		return fd
	}
	return -1
}

func keep(name string, fd int) {
	mu.Lock()
	defer mu.Unlock()
	sockets[name] = fd
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func sockaddr(s string) (unix.Sockaddr, int) {
	a := netip.MustParseAddrPort(s)
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}, unix.AF_INET6
}

// open makes a socket that is bound to an address. Options, each LEVEL:NAME:VALUE, are
// set before.
func open(address string, options []string) (int, error) {
	sa, family := sockaddr(address)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	for _, o := range options {
		w := strings.Split(o, ":")
		if err := unix.SetsockoptInt(fd, number(w[0]), number(w[1]), number(w[2])); err != nil {
			return fd, err
		}
	}
	return fd, unix.Bind(fd, sa)
}

func call(verb string, args []string) (string, error) {
	switch verb {
	case "listen": // NAME ADDRESS BACKLOG OPTIONS
		fd, err := open(args[1], args[3:])
		if err == nil {
			err = unix.Listen(fd, number(args[2]))
		}
		keep(args[0], fd)
		return "ok", err
	case "accept": // LISTENER NAME
		fd, _, err := unix.Accept4(socket(args[0]), unix.SOCK_CLOEXEC)
		if err == nil {
			keep(args[1], fd)
		}
		return "ok", err
	case "connect": // NAME OWN PEER OPTIONS
		fd, err := open(args[1], args[3:])
		keep(args[0], fd)
		if err == nil {
			sa, _ := sockaddr(args[2])
			err = unix.Connect(fd, sa)
		}
		return "ok", err
	case "read": // NAME COUNT: so many bytes, or up to the end
		b := make([]byte, number(args[1]))
		n := 0
		for n < len(b) {
			m, err := unix.Read(socket(args[0]), b[n:])
			if err != nil {
				return "", err
			}
			if m == 0 {
				return fmt.Sprintf("%q end", b[:n]), nil
			}
			n += m
		}
		return fmt.Sprintf("%q", b), nil
	case "write": // NAME COUNT: letters
		b := make([]byte, number(args[1]))
		for i := range b {
			b[i] = letter(i)
		}
		n, err := unix.Write(socket(args[0]), b)
		return fmt.Sprint(n), err
	case "shutdown": // NAME HOW
		return "ok", unix.Shutdown(socket(args[0]), number(args[1]))
	case "close":
		return "ok", unix.Close(socket(args[0]))
	case "set": // NAME LEVEL OPTION VALUE
		return "ok", unix.SetsockoptInt(socket(args[0]), number(args[1]), number(args[2]), number(args[3]))
	case "linger":
		return "ok", unix.SetsockoptLinger(socket(args[0]), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case "state":
		info, err := unix.GetsockoptTCPInfo(socket(args[0]), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(info.State), nil
	case "file":
		b, err := os.ReadFile(args[0])
		return strconv.Quote(string(b)), err
	}
	return "", errors.New("no such verb")
}

// letter is the byte at a place of what is written.
func letter(i int) byte { return 'a' + byte(i%26) }
