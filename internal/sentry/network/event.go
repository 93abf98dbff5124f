package network

// Event says that something of the configuration is there, new or changed, or has gone.
// One of its pointers is set.
type Event struct {
	Deleted   bool
	Link      *LinkInfo
	Address   *AddressInfo
	Route     *RouteInfo
	Rule      *RuleInfo
	Neighbour *NeighbourInfo
	Netconf   *NetconfInfo
}

// Watcher is told of events, in their order. It must not call the namespace, nor wait.
type Watcher interface {
	NetworkEvent(Event)
}

// Watch has w told of what happens from here on; Unwatch ends that.
func (n *Namespace) Watch(w Watcher) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watchers == nil {
		n.watchers = map[Watcher]struct{}{}
	}
	n.watchers[w] = struct{}{}
}

func (n *Namespace) Unwatch(w Watcher) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.watchers, w)
}

// tell tells all watchers. n.mu is held.
func (n *Namespace) tell(e Event) {
	for w := range n.watchers {
		w.NetworkEvent(e)
	}
}

func (n *Namespace) tellLink(l *link, deleted bool) {
	if len(n.watchers) > 0 {
		i := n.info(l)
		n.tell(Event{Link: &i, Deleted: deleted})
	}
}
