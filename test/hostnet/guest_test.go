package hostnet

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// guestRole is the word by which this program becomes what runs in a sandbox, or on
// another host.
const guestRole = "guest"

// guestMain takes over if the program runs in that role.
func guestMain() {
	if len(os.Args) < 3 || os.Args[1] != guestRole {
		return
	}
	var err error
	switch args := os.Args[3:]; os.Args[2] {
	case "serve":
		err = serve(args[0], args[1])
	case "fetch":
		err = fetch(args)
	case "web":
		err = web(args[0])
	case "browse":
		err = browse(args[0])
	case "addresses":
		err = addresses()
	case "lookup":
		err = lookup(args)
	case "ask-from":
		err = askFrom(args[0], args[1])
	case "names":
		err = names(args[0], netip.MustParseAddr(args[1]))
	case "read":
		err = read(args)
	case "advertise":
		err = advertise(netip.MustParseAddr(args[0]), args[1])
	default:
		err = fmt.Errorf("there is no role %q", os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve answers everybody at a port, over TCP and UDP, with a text and who has asked.
func serve(port, text string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	own := "none"
	if list, err := net.InterfaceAddrs(); err == nil {
		for _, a := range list {
			if n := a.(*net.IPNet); n.IP.To4() != nil && !n.IP.IsLoopback() {
				own = n.IP.String()
			}
		}
	}
	fmt.Println("ready", own)
	go func() {
		b := make([]byte, 2048)
		for {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			u.WriteTo(answer(text, from), from)
		}
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		c.Write(answer(text, c.RemoteAddr()))
		c.Close()
	}
}

// web serves HTTP at a port: 3,000,000 bytes, the path that is asked for, and how much was posted.
func web(port string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /big", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 3000000)) })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	return http.ListenAndServe(":"+port, mux)
}

// browse asks such a server, 64 times at once.
func browse(server string) error {
	body := func(r *http.Response, err error) string {
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	big := body(http.Get(server + "/big"))
	if len(big) < 1000 {
		return errors.New(big)
	}
	fmt.Println(len(big), "bytes")
	var good atomic.Int32
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			path := fmt.Sprintf("/%d", i)
			if body(http.Get(server+path)) == path {
				good.Add(1)
			}
		})
	}
	group.Wait()
	fmt.Println(good.Load(), "answers")
	fmt.Println(body(http.Post(server, "application/octet-stream", strings.NewReader(big))), "bytes taken")
	return nil
}

// answer is what a server says; a text of the form bytes=N is so many bytes.
func answer(text string, from net.Addr) []byte {
	if n, ok := strings.CutPrefix(text, "bytes="); ok {
		size, _ := strconv.Atoi(n)
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i ^ i>>8 ^ i>>16)
		}
		return b
	}
	host, _, _ := net.SplitHostPort(from.String())
	return fmt.Appendf(nil, "%s to %s\n", text, host)
}

// fetch asks servers, each NETWORK:ADDRESS, and prints what they answer.
func fetch(list []string) error {
	for _, a := range list {
		network, address, _ := strings.Cut(a, ":")
		text, err := ask(network, address)
		if err != nil {
			text = "no: " + reason(err) + "\n"
		}
		if len(text) > 1000 {
			text = fmt.Sprintf("%d bytes, %08x\n", len(text), crc32.ChecksumIEEE([]byte(text)))
		}
		fmt.Print(text)
	}
	return nil
}

// askPatience is how long a server may be silent that is expected to be: each such
// question takes as long.
const askPatience = time.Second

func ask(network, address string) (string, error) {
	patience := askPatience
	if strings.HasSuffix(network, "+") {
		// An answer is expected, if late.
		network, patience = strings.TrimSuffix(network, "+"), time.Minute
	}
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if network == "tcp" {
		b, err := io.ReadAll(c)
		return string(b), err
	}
	b := make([]byte, 2048)
	for end := time.Now().Add(patience); ; {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
		c.SetDeadline(time.Now().Add(time.Second)) // datagrams get lost
		n, err := c.Read(b)
		if ne, ok := err.(net.Error); ok && ne.Timeout() && time.Now().Before(end) {
			continue
		}
		return string(b[:n]), err
	}
}

// reason is an error in a word.
func reason(err error) string {
	for _, r := range []string{"refused", "reset", "permission denied", "no route", "unreachable", "i/o timeout"} {
		if strings.Contains(err.Error(), r) {
			return r
		}
	}
	return err.Error()
}

// addresses prints the interfaces that there are.
func addresses() error {
	list, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil {
			return err
		}
		fmt.Print(i.Name)
		for _, a := range addrs {
			if n := a.(*net.IPNet); !n.IP.IsLinkLocalUnicast() {
				fmt.Print(" ", a)
			}
		}
		fmt.Println()
	}
	return nil
}

// lookup prints the addresses of names.
func lookup(names []string) error {
	for _, name := range names {
		list, err := net.LookupHost(name)
		if err != nil {
			list = []string{"no: " + reason(err)}
		}
		fmt.Println(strings.Join(list, " "))
	}
	return nil
}

// askFrom looks a name up by a datagram from a port of its own.
func askFrom(port, name string) error {
	from, err := net.ResolveUDPAddr("udp4", ":"+port)
	if err != nil {
		return err
	}
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, server string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: from}).DialContext(ctx, "udp4", server)
	}}
	list, err := r.LookupNetIP(context.Background(), "ip4", name)
	if err != nil {
		return err
	}
	fmt.Println(list[0].Unmap())
	return nil
}

// names is a name server at an address, by which each name has the same address.
func names(at string, address netip.Addr) error {
	c, err := net.ListenPacket("udp", net.JoinHostPort(at, "53"))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		var m dnsmessage.Message
		if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response, m.Additionals = true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, Body: &dnsmessage.AResource{A: address.As4()},
			}}
		}
		if reply, err := m.Pack(); err == nil {
			c.WriteTo(reply, from)
		}
	}
}

// read prints files.
func read(files []string) error {
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		os.Stdout.Write(b)
	}
	return nil
}

// advertise claims an IPv6 address, in a neighbour advertisement (RFC 4861, 4.4) to who is at
// another one.
func advertise(target netip.Addr, to string) error {
	c, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return err
	}
	defer c.Close()
	raw, err := c.(*net.IPConn).SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255) }); err != nil || set != nil {
		return errors.Join(err, set)
	}
	const solicitedOverride = 0x60
	message := append([]byte{136, 0, 0, 0, solicitedOverride, 0, 0, 0}, target.AsSlice()...)
	// The target's Ethernet address, in units of 8 bytes.
	message = append(message, 2, 1, 0x02, 0, 0, 0, 0, 0x99)
	_, err = c.WriteTo(message, &net.IPAddr{IP: net.ParseIP(to)})
	return err
}
