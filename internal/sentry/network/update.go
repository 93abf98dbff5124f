package network

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Update has the network be as a configuration says, as far as that differs from the
// one that it was given before: what programs have changed meanwhile stays. It is for a
// network that others change from outside while the sandbox runs.
//
// An interface that the network has and keeps comes with -1 for its FD; one with a
// descriptor is new, also if its name is not. Interfaces, Routes, Rules and Neighbours can
// change, and a Nameserver can come; the rest stays. Update owns the descriptors. What
// cannot be done does not keep the rest from being done, and is in the error.
func (n *Namespace) Update(c Config) error {
	n.updating.Lock()
	defer n.updating.Unlock()
	if err := c.check(); err != nil {
		c.close()
		return err
	}
	old := n.given
	n.given = c
	var all []error
	for i := range old.Interfaces {
		name := old.Interfaces[i].Name
		if now := c.named(name); now == nil || now.FD >= 0 {
			n.detach(name)
		}
	}
	for i := range c.Interfaces {
		to := &c.Interfaces[i]
		switch from := old.named(to.Name); {
		case to.FD >= 0:
			all = append(all, n.attach(to))
			to.FD, to.Ready = -1, [2]int{}
		case from == nil:
			all = append(all, fmt.Errorf("network interface %s is not there, and came without a descriptor", to.Name))
		default:
			all = append(all, n.updateInterface(from, to))
		}
	}
	for _, r := range missingRoutes(old.Routes, c.Routes) {
		n.mu.Lock()
		info := n.routeInfo(&r)
		n.mu.Unlock()
		if info.Link != 0 || len(info.Hops) > 0 || refusal(info.Type) != 0 {
			info.Scope, info.Protocol = unix.RT_SCOPE_NOWHERE, 0
			_ = n.DeleteRoute(info) // programs may have done it before
		}
	}
	for _, k := range missing(old.Neighbours, c.Neighbours) {
		if index := n.indexOf(k.Interface); index != 0 {
			_ = n.DeleteNeighbour(index, k.Address) // likewise
		}
	}
	all = append(all, n.giveRules(old.Rules, c.Rules), n.addGivenRoutes(missingRoutes(c.Routes, old.Routes)), n.addGivenNeighbours(missing(c.Neighbours, old.Neighbours)))
	n.addNameserver(c.Nameserver)
	return errors.Join(all...)
}

// missing are the elements of a list that are not in another one.
func missing[T comparable](list, other []T) (out []T) {
	for _, v := range list {
		if !slices.Contains(other, v) {
			out = append(out, v)
		}
	}
	return out
}

// missingRoutes are those of a list that are not in another one.
func missingRoutes(list, other []Route) []Route {
	return slices.DeleteFunc(slices.Clone(list), func(r Route) bool { return slices.ContainsFunc(other, r.equal) })
}

// named returns the interface of that name, or nil.
func (c *Config) named(name string) *Interface {
	i := slices.IndexFunc(c.Interfaces, func(i Interface) bool { return i.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Interfaces[i]
}

// close closes what Update owns.
func (c *Config) close() {
	for i := range c.Interfaces {
		k := &c.Interfaces[i]
		for _, fd := range []int{k.FD, k.Ready[0], k.Ready[1]} {
			if fd > 0 {
				unix.Close(fd)
			}
		}
	}
	if c.Nameserver != nil {
		unix.Close(c.Nameserver.FD)
	}
}

// detach deletes an interface that leads out, wherever programs have moved it.
func (n *Namespace) detach(name string) {
	o := n.outsides[name]
	if o == nil {
		return // it could not be made
	}
	delete(n.outsides, name)
	rtnl.Lock()
	if home, _ := o.base().place(); home != nil {
		home.mu.Lock()
		home.forget(o)
		home.mu.Unlock()
	}
	rtnl.Unlock()
	o.end()
}

// updateInterface changes an interface that stays, unless programs have moved it away.
func (n *Namespace) updateInterface(from, to *Interface) error {
	o := n.outsides[to.Name]
	if o == nil {
		return nil
	}
	home, index := o.base().place()
	if home != n {
		return nil
	}
	var all []error
	if from.MTU != to.MTU {
		all = append(all, n.SetMTU(index, to.MTU))
	}
	for _, p := range missing(from.Addresses, to.Addresses) {
		_ = n.DeleteAddress(index, p) // programs may have done it before
	}
	for _, p := range missing(to.Addresses, from.Addresses) {
		a := n.given.address(to, p)
		a.Link = index
		if err := n.AddAddress(a); err != nil && !errors.Is(err, unix.EEXIST) {
			all = append(all, fmt.Errorf("network interface %s: the address %s: %w", to.Name, p, err))
		}
	}
	return errors.Join(all...)
}

// addNameserver adds a name server, if there is none yet.
func (n *Namespace) addNameserver(s *Nameserver) {
	if s == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.config.Nameserver != nil {
		unix.Close(s.FD)
		return
	}
	n.config.Nameserver = s
	if n.stack != nil {
		n.serveNames()
	}
}
