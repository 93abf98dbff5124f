// Package network is what a network namespace has beside the names of AF_UNIX
// (network_namespaces(7)): interfaces with their addresses, routes, and the TCP/IP
// stack that all sockets of the namespace share.
//
// It is the only package that configures the stack; sockets take endpoints from
// Stack, and everything that shows or changes the configuration (netlink, ioctls,
// /proc/net, /proc/sys/net) goes through Namespace. What is configured is kept here,
// and the stack is told: so that looking at it starts no stack.
//
// It must not know sockets, tasks or guest memory.
//
// Lock order: Namespace.updating, rtnl, Namespace.mu, then the stack's own locks, those of devices, and
// those of Watchers. No two Namespace.mu are held at once. Devices take their locks one
// after the other, and write to the stack without any.
package network

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"

	hostlink "coffer/internal/link"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// LoopbackIndex is the index of lo in every namespace.
const LoopbackIndex = 1

// rtnl is held by whoever changes the configuration of any namespace, as Linux's lock
// of that name: changes may concern two of them.
var rtnl sync.Mutex

// Namespace is one network. Make one with New, Loopback or Empty. Its stack is started
// when it is first asked for, so that a program that uses no network pays for none.
type Namespace struct {
	config Config
	// cookie is SO_NETNS_COOKIE: no other namespace has it.
	cookie uint64
	// updating is held by Update, and protects given, what the network was told last to have,
	// and outsides, the devices of its interfaces by the names that they were given with.
	updating sync.Mutex
	given    Config
	outsides map[string]*outside

	once    sync.Once
	started atomic.Bool
	// paired says that an end of a pair has been here.
	paired atomic.Bool
	// observers counts who receives copies of packets.
	observers atomic.Int32
	// changes counts what has been told to the stack that a packet's way may depend on.
	changes atomic.Uint64
	looped  looped
	labels  *labels
	held    *hostlink.Hold // of the interfaces that lead out
	// steering is nil inside as long as the stack has all routes itself.
	steering *steering
	// paths are the MTUs of paths that take less than their first link.
	paths *pathMTUs

	mu        sync.Mutex
	stack     *stack.Stack // nil before it is started
	links     map[int32]*link
	names     map[string]int32
	lastIndex int32
	gone      ipCounters
	routes    []*RouteInfo
	// rules are those of IPv4, then those of IPv6. ruled says that they are not the usual ones, rulesAdded that those of
	// IPv4 have ever been changed.
	rules             []RuleInfo
	ruled, rulesAdded bool
	// unsteered is what would steer the stack, once somebody has asked, until there is a change.
	unsteered *fib
	watchers  map[Watcher]struct{}
	// changed are the settings of sysctls that are not as at first, congestion which of
	// congestionControls is the default; linkAll and linkDefault are those of
	// interfaces that conf/all and conf/default have.
	changed map[string][]int64
	// openToAll says that OpenToAll was called.
	openToAll            bool
	congestion           int
	linkAll, linkDefault linkSettings
	// devices are those of links, which end with the namespace.
	devices *devices
	nsids   nsids
}

// New returns a network with lo and what the configuration has. Interfaces whose
// frames come from a host's network are served from here on.
func New(c Config) (*Namespace, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	n := newNamespace(c.LoopbackUp)
	n.config, n.given = c, c
	if err := n.configure(); err != nil {
		return nil, err
	}
	return n, nil
}

// Loopback returns a network that has only lo, with its addresses; Empty one whose
// lo is down, as Linux makes them.
func Loopback() *Namespace { return newNamespace(true) }
func Empty() *Namespace    { return newNamespace(false) }

// Hold is for sends whose frames may wait, where they lead out.
func (n *Namespace) Hold() *hostlink.Hold { return n.held }

func newNamespace(up bool) *Namespace {
	lo := &link{index: LoopbackIndex, name: "lo", mtu: loopbackMTU, queueLen: 1000}
	n := &Namespace{
		links: map[int32]*link{LoopbackIndex: lo}, names: map[string]int32{"lo": LoopbackIndex},
		lastIndex: LoopbackIndex, cookie: cookies.Add(1), outsides: map[string]*outside{}, held: new(hostlink.Hold), labels: newLabels(),
		steering: new(steering), paths: new(pathMTUs), rules: DefaultRules(),
	}
	if up {
		rtnl.Lock()
		defer rtnl.Unlock()
		n.mu.Lock()
		defer n.mu.Unlock()
		n.setUp(lo, true)
	}
	return n
}

// cookies is the cookie of the newest namespace.
var cookies atomic.Uint64

// Cookie is a number that no other namespace has, nor ever had (SO_NETNS_COOKIE).
func (n *Namespace) Cookie() uint64 { return n.cookie }

// Stack returns the namespace's TCP/IP stack.
func (n *Namespace) Stack() *stack.Stack {
	n.once.Do(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.stack = newStack(n.labels, n.steering, n.paths)
		n.mirror()
		n.looped.init(n.stack)
		n.serveNames()
		// The stack's goroutines hold the stack, not the namespace: with the last
		// socket and task of the namespace they end.
		runtime.AddCleanup(n, func(s *stack.Stack) { s.Destroy() }, n.stack)
		n.started.Store(true)
	})
	return n.stack
}

// Started reports whether there is a stack: before that, no socket has been made
// that could be listed, and nothing has been counted.
func (n *Namespace) Started() bool { return n.started.Load() }

// must is for what the stack refuses only if this package is wrong.
func must(err tcpip.Error) {
	if err != nil {
		panic(fmt.Sprintf("configuring the network: %v", err))
	}
}

// HardwareAddr is an Ethernet address in JSON: "02:42:ac:11:00:02".
type HardwareAddr string

// Parse returns the address's six bytes.
func (h HardwareAddr) Parse() (tcpip.LinkAddress, error) {
	a, err := net.ParseMAC(string(h))
	if err != nil || len(a) != 6 {
		return "", fmt.Errorf("%q is not an Ethernet address such as 02:42:ac:11:00:02", string(h))
	}
	return tcpip.LinkAddress(a), nil
}
