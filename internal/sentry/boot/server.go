package boot

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what a server does at once. There is always room for commands
// beside the connections that are held.
const (
	connectionsMax = 2048
	heldMax        = 1536
	containersMax  = 256
)

// acceptPause keeps a server that cannot accept from trying all the time.
const acceptPause = 10 * time.Millisecond

// server answers requests that come over the listening socket. Only who may
// enter the container's directory on the host can connect; what they ask is
// checked all the same, as a mistake of theirs must not become the guest's power.
type server struct {
	s        *sandbox
	listener *os.File
	accept   syscall.RawConn
	// connections counts those that are served now, and held those of them that
	// wait to tell how a process ended.
	connections, held chan struct{}
	// first is the sandbox's own container.
	first *container

	mu         sync.Mutex
	containers map[string]*container
}

func newServer(s *sandbox, fd int) (*server, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("preparing the server's socket: %w", err)
	}
	v := &server{
		s: s, listener: os.NewFile(uintptr(fd), "server"),
		connections: make(chan struct{}, connectionsMax), held: make(chan struct{}, heldMax),
		containers: make(map[string]*container),
	}
	var err error
	v.accept, err = v.listener.SyscallConn()
	return v, err
}

// serve answers until the sentry ends.
func (v *server) serve() {
	for {
		fd := -1
		var aerr error
		err := v.accept.Read(func(l uintptr) bool {
			fd, _, aerr = unix.Accept4(int(l), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			return aerr != unix.EAGAIN
		})
		if err != nil {
			return // the listener is closed
		}
		if aerr != nil {
			// Who wanted to connect is gone, or descriptors are short.
			time.Sleep(acceptPause)
			continue
		}
		conn, err := NewConn(fd)
		if err != nil {
			continue
		}
		select {
		case v.connections <- struct{}{}:
			v.serveOne(conn)
		default:
			_ = conn.Send(Reply{Error: fmt.Sprintf("the sandbox has %d connections: end some", connectionsMax), Code: exitFailed})
			conn.Close()
		}
	}
}

// serveOne answers one connection beside others, but one after the other what was left while the
// sandbox was frozen: the last limits are to be those that are in force.
func (v *server) serveOne(conn *Conn) {
	serve := func(r *received) {
		defer func() { <-v.connections }()
		defer conn.Close()
		v.answer(conn, r)
	}
	if !conn.hasWhole() {
		go func() { serve(receiveRequest(conn)) }() // receiving may take long
		return
	}
	r := receiveRequest(conn)
	if r.req.Op == OpSignal || r.req.Op == OpUpdate { // which wait for nothing
		serve(r)
	} else {
		go serve(r)
	}
}

// received is what came over a connection: a request, with the places in it that have
// descriptors, or why there is none.
type received struct {
	req    Request
	places []*int
	err    error
}

func receiveRequest(conn *Conn) *received {
	r := new(received)
	var fds []int
	fds, r.err = conn.receiveWith(&r.req, RequestMax)
	if r.err == nil {
		r.places, r.err = r.req.adopt(fds)
	}
	if r.err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		r.places = nil
	}
	return r
}

// answer does what a request says.
func (v *server) answer(conn *Conn, r *received) {
	defer func() {
		for _, p := range r.places {
			if *p >= 0 {
				unix.Close(*p)
			}
		}
	}()
	if r.err != nil {
		_ = conn.Send(failure(r.err))
		return
	}
	req := &r.req
	switch req.Op {
	case OpExec:
		v.hold(conn, func() (*held, error) {
			c, err := v.container(req.Container)
			if err != nil {
				return nil, err
			}
			p, err := c.exec(req.Process)
			if err != nil {
				return nil, err
			}
			return &held{p, p.task.ThreadGroup().SignalFromHost}, nil
		})
	case OpAdd:
		v.hold(conn, func() (*held, error) {
			c, err := v.add(req.New)
			if err != nil {
				return nil, err
			}
			return &held{c.init, func(sig int32) error { return c.signal(sig, false) }}, nil
		})
	default:
		reply, err := v.do(req)
		if err != nil {
			reply = failure(err)
		}
		_ = conn.Send(reply)
	}
}

// do does what needs no held connection.
func (v *server) do(req *Request) (reply Reply, err error) {
	c, err := v.container(req.Container)
	if err != nil {
		return reply, err
	}
	switch req.Op {
	case OpStart:
		err = c.start()
	case OpSignal:
		err = c.signal(int32(req.Signal), req.All)
	case OpUpdate:
		if req.Limits == nil {
			return reply, errors.New("the request names no limits")
		}
		c.update(req.Limits)
	case OpProcesses:
		reply.Processes = c.processes()
	case OpNetwork:
		err = v.s.updateNetwork(req.Network)
	case OpUsage:
		u := c.usage()
		reply.Usage = &Usage{Tasks: uint64(u.Tasks), User: u.User, System: u.System, Memory: u.Memory, Interfaces: c.interfaces()}
	case OpDestroy:
		c.destroy()
		v.mu.Lock()
		delete(v.containers, c.id)
		v.mu.Unlock()
	default:
		err = fmt.Errorf("there is no request %.80q", req.Op)
	}
	return reply, err
}

// failure is the reply that tells of an error.
func failure(err error) Reply {
	r := Reply{Error: err.Error(), Code: exitFailed}
	if len(r.Error) > errorMax {
		r.Error = r.Error[:errorMax] + "..."
	}
	var pe *programError
	if errors.As(err, &pe) {
		r.Code = pe.code
	}
	return r
}

func (v *server) container(id string) (*container, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.containers[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("the sandbox has no container %.80q", id)
}

// add makes a container.
func (v *server) add(c *Container) (*container, error) {
	if c.Files != nil && !c.Files.Confined {
		return nil, errors.New("the container's files are not confined, and it is too late to do it here")
	}
	// The name is taken before the container is made, so that there can't be two.
	v.mu.Lock()
	_, taken := v.containers[c.ID]
	full := len(v.containers) >= containersMax
	if !taken && !full {
		v.containers[c.ID] = nil
	}
	v.mu.Unlock()
	switch {
	case taken:
		return nil, fmt.Errorf("the sandbox has a container %q already", c.ID)
	case full:
		return nil, fmt.Errorf("the sandbox has %d containers: end some", containersMax)
	}
	n, err := v.s.newContainer(c, false)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		delete(v.containers, c.ID)
		return nil, err
	}
	n.init.task.StartBehind(n.begin)
	v.containers[c.ID] = n
	return n, nil
}

// held is a process whose connection is held, and how it is signalled.
type held struct {
	*process
	signal func(sig int32) error
}

// hold makes a process and serves its connection until it has ended; should
// the connection end first, the process is killed.
func (v *server) hold(conn *Conn, make func() (*held, error)) {
	select {
	case v.held <- struct{}{}:
		defer func() { <-v.held }()
	default:
		_ = conn.Send(failure(fmt.Errorf("%d processes that were started from outside run in the sandbox: end some", heldMax)))
		return
	}
	p, err := make()
	if err != nil {
		_ = conn.Send(failure(err))
		return
	}
	g := p.task.ThreadGroup()
	if conn.Send(Reply{}) != nil {
		g.Kill()
		return
	}
	go func() {
		for {
			var req Request
			if conn.Receive(&req, commandMax) != nil {
				g.Kill() // of one that has ended, nothing
				return
			}
			switch req.Op {
			case OpSignal:
				// It fails for what is no signal or comes too late.
				_ = p.signal(int32(req.Signal))
			case OpResize:
				p.terminal.resize(req.Rows, req.Cols)
			}
		}
	}()
	<-g.Done()
	_ = conn.Send(Reply{Ended: true, Status: int(g.Status())})
}

// finish accepts no connection any more, and waits until all that there are have
// their answers: those that are held, how their process ended.
func (v *server) finish() {
	v.listener.Close()
	for range cap(v.connections) {
		v.connections <- struct{}{}
	}
}

// adopt checks a request and puts the numbers of the descriptors that came
// with it where it has their places in the list.
func (r *Request) adopt(fds []int) ([]*int, error) {
	var places []*int
	switch {
	case r.Op == OpExec && r.Process != nil && r.New == nil:
		if err := r.Process.check(); err != nil {
			return nil, err
		}
		places = r.Process.descriptors()
	case r.Op == OpAdd && r.New != nil && r.Process == nil:
		if err := r.New.check(); err != nil {
			return nil, err
		}
		if r.New.ID == "" {
			return nil, errors.New("the container has no name")
		}
		places = r.New.descriptors()
	case r.Op == OpNetwork && r.Network != nil && r.Process == nil && r.New == nil:
		if err := checkUpdate(r.Network); err != nil {
			return nil, err
		}
		places = networkDescriptors(r.Network)
	case r.Process != nil || r.New != nil || r.Network != nil || r.Op == OpExec || r.Op == OpAdd || r.Op == OpNetwork:
		return nil, fmt.Errorf("the request %.80q lacks what it is about, or has more", r.Op)
	}
	var order []int
	for _, p := range places {
		order = append(order, *p)
	}
	slices.Sort(order)
	for i, n := range order {
		if n != i {
			return nil, fmt.Errorf("descriptor %d was not donated, or twice", n)
		}
	}
	if len(order) != len(fds) {
		return nil, fmt.Errorf("%d descriptors came, and %d are spoken of", len(fds), len(order))
	}
	for _, p := range places {
		*p = fds[*p]
	}
	return places, nil
}
