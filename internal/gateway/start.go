package gateway

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"coffer/internal/link"
	"coffer/internal/scm"

	"golang.org/x/sys/unix"
)

// Role is the word by which coffer's binary, executed again, becomes the helper.
const Role = "gateway"

// Gateway is the sandbox's side of a gateway.
type Gateway struct {
	// Link is the sandbox's end of the link: a SOCK_SEQPACKET socket that carries one
	// Ethernet frame in each message (package link). It is open until Close, or until
	// Donated has been called.
	Link *os.File
	// Questions, if there is a policy, is a SOCK_SEQPACKET socket over which the
	// sandbox asks whether a flow is permitted; else nil. It goes with Link.
	Questions *os.File
	// IPv6 says that the host has a way to IPv6 addresses, so that a default route
	// of that family is of use.
	IPv6 bool

	config      Config
	description description
	// files are the helper's, from fdFirst on; the first one is its end of the link.
	files []*os.File
	once  sync.Once // for closing files

	// launched is closed when the helper has been launched, or will not be. What follows
	// is there then.
	launched chan struct{}
	control  *os.File
	cmd      *exec.Cmd
	ended    chan struct{}
}

// Start prepares a gateway: it listens on published ports, and has a helper process
// started when the sandbox sends its first frame, or at once if there are such ports.
func Start(c Config) (*Gateway, error) {
	g := &Gateway{config: c, description: description{Hosts: c.Hosts, Egress: c.Egress, Detached: c.Detached}, launched: make(chan struct{})}
	ends, err := g.prepare()
	if err == nil && len(c.Publish) == 0 && !c.Detached {
		go g.launchLater(ends)
		return g, nil
	}
	if err == nil {
		err = g.launch()
	}
	close(g.launched)
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// prepare opens all that the helper is to have. A message at one of the ends that it
// returns is the sandbox's first.
func (g *Gateway) prepare() (ends []*os.File, err error) {
	d := &g.description
	if d.DNS, err = nameServers(g.config.DNS); err != nil {
		return nil, err
	}
	var ours *os.File
	if g.Link, ours, err = link.Pair(); err != nil {
		return nil, err
	}
	d.Link = g.give(ours)
	ends = append(ends, ours)
	if g.config.Egress != nil {
		theirs, err := g.givePolicy()
		if err != nil {
			return nil, err
		}
		ends = append(ends, theirs)
	}
	err = g.inNamespace(func() error {
		g.IPv6 = hasIPv6()
		return g.listen()
	})
	return ends, err
}

// give has the helper get a file, and returns its descriptor there.
func (g *Gateway) give(f *os.File) int {
	g.files = append(g.files, f)
	return fdFirst + len(g.files) - 1
}

// inNamespace calls f with a thread in the network namespace where the sockets live.
func (g *Gateway) inNamespace(f func() error) error {
	if g.config.Namespace == nil {
		return f()
	}
	ended := make(chan error)
	go func() {
		// The thread ends with the goroutine, since it is not unlocked.
		runtime.LockOSThread()
		if err := unix.Setns(int(g.config.Namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			ended <- fmt.Errorf("entering the gateway's network namespace: %w", err)
			return
		}
		ended <- f()
	}()
	return <-ended
}

// hasIPv6 reports whether there is a route to IPv6 addresses. To connect a socket for
// datagrams sends nothing.
func hasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// 2000::1 stands for any global address (RFC 4291, section 2.4).
	return unix.Connect(fd, &unix.SockaddrInet6{Addr: [16]byte{0: 0x20, 15: 1}, Port: 9}) == nil
}

// launchLater launches the helper when there is a first frame, or a question before it.
func (g *Gateway) launchLater(ends []*os.File) {
	defer close(g.launched)
	defer g.closeFiles()
	first := make(chan error, len(ends))
	for _, end := range ends {
		go func() { first <- awaitMessage(end) }()
	}
	for range ends {
		if <-first != nil {
			continue // the other end may have one
		}
		if err := g.launch(); err != nil && g.config.Log != nil {
			fmt.Fprintln(g.config.Log, "coffer: the sandbox has no network:", err)
		}
		return
	}
}

// awaitMessage waits for a message, which it leaves where it is.
func awaitMessage(end *os.File) error {
	raw, err := end.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		var n int
		n, _, failed = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if failed == nil && n == 0 {
			failed = io.EOF // the sandbox has ended, and has not used its network
		}
		return failed != unix.EAGAIN
	})
	return errors.Join(err, failed)
}

// closeFiles closes what only the helper needs.
func (g *Gateway) closeFiles() {
	g.once.Do(func() {
		for _, f := range g.files {
			f.Close()
		}
	})
}

// helperPatience is how long the helper may take until it serves.
const helperPatience = 30 * time.Second

// launch starts the helper and waits until it serves.
func (g *Gateway) launch() error {
	defer g.closeFiles()
	file, err := g.description.file()
	if err != nil {
		return err
	}
	defer file.Close()
	control, theirs, err := scm.Pair("gateway's control")
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{"coffer", Role},
		Env:        []string{"GOTRACEBACK=single"},
		Dir:        "/",
		Stderr:     g.config.Log,
		ExtraFiles: append([]*os.File{file, theirs}, g.files...),
		SysProcAttr: &syscall.SysProcAttr{
			// All but its network is its own.
			Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
			Setsid:     true,
			// To raise its walls; all are given up then. A user other than root would
			// lose them by executing the helper.
			AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP},
			UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
		},
	}
	if err := g.inNamespace(cmd.Start); err != nil {
		control.Close()
		return explainLaunch(err)
	}
	ended := make(chan struct{})
	var how error
	go func() {
		how = cmd.Wait()
		close(ended)
	}()
	theirs.Close()
	if err := awaitServing(control); err != nil {
		cmd.Process.Kill()
		<-ended
		control.Close()
		return err
	}
	g.cmd, g.ended = cmd, ended
	if g.config.Log != nil {
		go func() {
			<-ended
			why := ""
			// Who waits for any child may have been told in the place of this one.
			if as := new(exec.ExitError); errors.As(how, &as) {
				why = ": " + as.Error()
			}
			if how != nil {
				fmt.Fprintf(terminalLines(g.config.Log), "coffer: the sandbox has no network any more: its gateway has ended%s\n", why)
			}
		}()
	}
	if g.config.Detached {
		control.Close() // the helper has been told not to end with it
	} else {
		g.control = control
	}
	return nil
}

func explainLaunch(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("the host refuses to create the gateway's namespaces (%w): allow user namespaces, as for the sandbox itself", err)
	}
	return fmt.Errorf("starting the gateway: %w", err)
}

// serving is what the helper sends when it serves; anything else says what is wrong.
const serving = "serving\n"

// awaitServing waits until the helper serves.
func awaitServing(control *os.File) error {
	patience := unix.NsecToTimeval(int64(helperPatience))
	if err := unix.SetsockoptTimeval(int(control.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return fmt.Errorf("preparing the gateway's control socket: %w", err)
	}
	const longest = 4 << 10
	line := make([]byte, longest)
	n, err := control.Read(line)
	switch {
	case err == nil && string(line[:n]) == serving:
		return nil
	case err == nil && n > 0:
		return errors.New(strings.TrimSpace(string(line[:n])))
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("the gateway has not begun to serve within %v", helperPatience)
	}
	return errors.New("the gateway ended before it served; what it said of that stands above")
}

// Donated tells that the sandbox has Link and Questions, and closes them here: the
// helper ends when nobody has them any more.
func (g *Gateway) Donated() {
	for _, f := range []*os.File{g.Link, g.Questions} {
		if f != nil {
			f.Close()
		}
	}
}

// Close ends the helper, unless it is detached, and closes what the Gateway has. It is
// for when the sandbox has ended: what that has sent leaves before, be it the first frame.
func (g *Gateway) Close() error {
	g.Donated()
	// With nobody at the other end it is known soon whether there is something.
	t := time.AfterFunc(LastBytes, g.closeFiles)
	<-g.launched
	t.Stop()
	g.closeFiles()
	if g.control != nil {
		g.control.Close()
		t := time.AfterFunc(helperPatience, func() { g.cmd.Process.Kill() })
		<-g.ended
		t.Stop()
		g.control = nil
	}
	return nil
}
