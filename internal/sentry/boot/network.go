package boot

import (
	"errors"
	"fmt"
	"slices"

	"coffer/internal/sentry/network"
)

// network makes what the container's own network namespace has.
func (c *Container) network() (*network.Namespace, error) {
	n, err := c.configuredNetwork()
	if err == nil && c.NetworkOpenToAll {
		n.OpenToAll()
	}
	return n, err
}

func (c *Container) configuredNetwork() (*network.Namespace, error) {
	if c.Network == nil {
		return network.Loopback(), nil
	}
	config := *c.Network
	config.Interfaces = slices.Clone(config.Interfaces)
	config.LoopbackUp = true
	if c.Network.Questions != 0 {
		var err error
		if config.Policy, err = network.NewAsker(take(&c.Network.Questions)); err != nil {
			return nil, err
		}
	}
	for i := range c.Network.Interfaces {
		from, to := &c.Network.Interfaces[i], &config.Interfaces[i]
		to.FD = take(&from.FD)
		if from.Capture != 0 {
			to.Capture = take(&from.Capture)
		}
	}
	if c.Network.Nameserver != nil {
		server := *c.Network.Nameserver
		server.FD = take(&c.Network.Nameserver.FD)
		config.Nameserver = &server
	}
	n, err := network.New(config)
	if err != nil {
		return nil, fmt.Errorf("making the network: %w", err)
	}
	return n, nil
}

// checkUpdate says what a description of a changed network has that cannot change.
func checkUpdate(n *network.Config) error {
	if n.Host || n.Questions != 0 {
		return errors.New("what serves the sandbox's network cannot change")
	}
	for _, i := range n.Interfaces {
		if i.Link != network.LinkPacket || i.Capture != 0 || i.FD >= 0 && (i.Ready[0] == 0 || i.Ready[1] == 0) {
			return fmt.Errorf("network interface %s cannot be added to a network that is there", i.Name)
		}
	}
	return nil
}

// updateNetwork has the first container's network be as it is described.
func (s *sandbox) updateNetwork(n *network.Config) error {
	if s.network.UsesHost() {
		return errors.New("the sandbox's network is the host's")
	}
	config := *n
	config.Interfaces = slices.Clone(n.Interfaces)
	for k := range config.Interfaces {
		from, to := &n.Interfaces[k], &config.Interfaces[k]
		to.FD, to.Ready = take(&from.FD), [2]int{take(&from.Ready[0]), take(&from.Ready[1])}
	}
	if n.Nameserver != nil {
		server := *n.Nameserver
		server.FD = take(&n.Nameserver.FD)
		config.Nameserver = &server
	}
	return s.network.Update(config)
}

// furnished is what a sentry is told of its network.
type furnished struct {
	Network *network.Config
}

// SendNetwork tells a sentry that is about to start what its network is; nil is one
// with a loopback interface alone. Descriptors in it are places in fds, which the
// caller keeps.
func SendNetwork(c *Conn, n *network.Config, fds []int) error {
	return c.Send(furnished{n}, fds...)
}

// receiveNetwork has the description say what the network is, of which the sentry
// is told late.
func (b *Sandbox) receiveNetwork() (err error) {
	if b.Server == nil || b.Server.Furnished == 0 {
		return nil
	}
	c, err := NewConn(b.Server.Furnished)
	b.Server.Furnished = 0
	if err != nil {
		return fmt.Errorf("learning what the network is: %w", err)
	}
	defer c.Close()
	var f furnished
	fds, err := c.receiveWith(&f, RequestMax)
	if err != nil {
		return fmt.Errorf("learning what the network is: %w", err)
	}
	b.Network = f.Network
	if b.Network == nil {
		return nil
	}
	for i := range b.Network.Interfaces {
		if err := takePlace(&b.Network.Interfaces[i].FD, fds, "network interface "+b.Network.Interfaces[i].Name); err != nil {
			return err
		}
	}
	if s := b.Network.Nameserver; s != nil {
		return takePlace(&s.FD, fds, "name server "+s.Address.String())
	}
	return nil
}

// takePlace turns a place in fds into the descriptor there.
func takePlace(fd *int, fds []int, whose string) error {
	if *fd < 0 || *fd >= len(fds) {
		return fmt.Errorf("of the %s no descriptor came", whose)
	}
	// No two have one: it would be closed twice.
	*fd, fds[*fd] = fds[*fd], -1
	if *fd < 0 {
		return fmt.Errorf("the %s has the descriptor of another one", whose)
	}
	return nil
}
