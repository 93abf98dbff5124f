package hostnet

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"coffer/internal/link"
	"coffer/internal/sentry/network"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Taken is a network namespace whose interfaces a sentry serves.
type Taken struct {
	// Network is what the sentry is to have beside lo. Descriptors in it are places in Files;
	// that of an interface which the sentry has already is -1.
	Network *network.Config
	Files   []*os.File

	namespace *os.File
	reader    *reader
	come      []int // the places in reader.links of those that were opened
}

// Close closes the files. The sentry has its own copies of them.
func (t *Taken) Close() {
	for _, f := range t.Files {
		f.Close()
	}
}

// give adds a file, and returns its place.
func (t *Taken) give(f *os.File) int {
	t.Files = append(t.Files, f)
	return len(t.Files) - 1
}

// TakeOver reads the interfaces of a network namespace that are up, with addresses,
// routes and permanent neighbours, and opens packet sockets of them. The host's kernel
// keeps all that, so that who looks there finds it and can change it, but is made deaf
// on these interfaces (silence): no one but the sentry answers. Each gets an alias
// that says whose it is.
//
// again says that the owner's sentry has what it was told of before (Told): of that it
// is told what it is now, and only what has come since is opened. Interfaces that
// cannot be taken over are an error the first time, and left alone from then on.
//
// Release undoes it. The caller needs CAP_NET_ADMIN and CAP_NET_RAW over the
// namespace, and CAP_SYS_ADMIN.
func TakeOver(ns *os.File, owner string, again bool) (*Taken, error) {
	for _, own := range []string{"/proc/self/ns/net", "/proc/1/ns/net"} {
		if same(ns, own) {
			return nil, fmt.Errorf("the network namespace %s is the host's own, which no sandbox may take over", ns.Name())
		}
	}
	t := &Taken{namespace: ns}
	err := within(ns, func() error { return t.take(owner, again) })
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("taking over the network namespace %s: %w", ns.Name(), err)
	}
	return t, nil
}

// same reports whether an open namespace is the one at a path.
func same(ns *os.File, path string) bool {
	a, err := ns.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

func (t *Taken) take(owner string, again bool) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	defer h.Close()
	r, err := readAll(h, owner, again)
	if err != nil {
		return err
	}
	t.Network, t.reader = &r.config, r
	if len(r.links) == 0 {
		return nil
	}
	server, err := nameserver()
	if err != nil {
		return err
	}
	if server != nil {
		r.config.Nameserver = &network.Nameserver{Address: dockerNames, FD: t.give(server)}
	}
	var deaf, bridges []string
	for i, l := range r.links {
		if !r.carries[l.Attrs().Index] {
			deaf = append(deaf, l.Attrs().Name)
			if l.Type() == "bridge" {
				bridges = append(bridges, l.Attrs().Name)
			}
		}
		if r.config.Interfaces[i].FD != had {
			t.come = append(t.come, i)
		}
	}
	if len(t.come) == 0 {
		// From Linux 6.16 on the rules lose an interface that gets another name.
		if is, err := silenced(deaf); is || err != nil {
			return err
		}
		return silence(deaf, bridges, server != nil)
	}
	if err := r.mark(t.come, false); err != nil {
		return err
	}
	for _, i := range t.come {
		if err := t.open(&r.config.Interfaces[i], r.links[i].Attrs().Index, again); err != nil {
			return fmt.Errorf("the interface %s: %w", r.config.Interfaces[i].Name, err)
		}
	}
	return silence(deaf, bridges, server != nil)
}

// Told notes that the sentry has been told, and has what was opened. Where it is not called,
// because telling failed or was interrupted, that is opened again the next time. The namespace
// is still open.
func (t *Taken) Told() error {
	if len(t.come) == 0 {
		return nil
	}
	return within(t.namespace, func() (err error) {
		if t.reader.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("opening a netlink socket: %w", err)
		}
		defer t.reader.handle.Close()
		return t.reader.mark(t.come, true)
	})
}

// open opens what a link of an interface takes.
func (t *Taken) open(i *network.Interface, index int, again bool) error {
	f, err := link.OpenPacket(index)
	if err != nil {
		return err
	}
	i.FD = t.give(f)
	if !again {
		return nil
	}
	for k := range i.Ready {
		// A sentry that runs can make none that Go's poller takes.
		if f, err = link.OpenReady(); err != nil {
			return err
		}
		i.Ready[k] = t.give(f)
	}
	return nil
}

// An interface that is taken over has an alias (ip-link(8)) that says whose it is, and by
// which name its sentry knows it: it may be renamed on its way out of the namespace. As
// long as its sentry has not been told there is no name.
const aliasPrefix = "coffer: "

func parseAlias(s string) (owner, name string, ok bool) {
	s, ok = strings.CutPrefix(s, aliasPrefix)
	if !ok {
		return "", "", false
	}
	owner, name, _ = strings.Cut(s, "/")
	return owner, name, true
}

// mark gives links aliases, by their places: as being taken over, or as taken.
func (r *reader) mark(places []int, taken bool) error {
	for _, i := range places {
		alias := aliasPrefix + r.owner
		if taken {
			alias += "/" + r.config.Interfaces[i].Name
		}
		if err := r.handle.LinkSetAlias(r.links[i], alias); err != nil && !(taken && errors.Is(err, unix.ENODEV)) {
			return fmt.Errorf("noting whose the interface %s is: %w", r.config.Interfaces[i].Name, err)
		}
	}
	return nil
}

// Release has the host's kernel hear again on the interfaces of a namespace that were
// taken over for owner.
func Release(ns *os.File, owner string) error {
	err := within(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("opening a netlink socket: %w", err)
		}
		defer h.Close()
		return release(h, owner)
	})
	if err != nil {
		return fmt.Errorf("giving the network namespace %s back: %w", ns.Name(), err)
	}
	return nil
}

func release(h *netlink.Handle, owner string) error {
	list, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("listing its interfaces: %w", err)
	}
	var ours []netlink.Link
	for _, l := range list {
		switch by, _, ok := parseAlias(l.Attrs().Alias); {
		case ok && by != owner:
			return nil // it is another one's by now
		case ok:
			ours = append(ours, l)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	if err := unsilence(); err != nil {
		return err
	}
	var all []error
	for _, l := range ours {
		if err := h.LinkSetAlias(l, ""); err != nil && !errors.Is(err, unix.ENODEV) {
			all = append(all, fmt.Errorf("the interface %s: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(all...)
}
