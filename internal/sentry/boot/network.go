package boot

import (
	"fmt"
	"slices"

	"coffer/internal/sentry/network"
)

// network makes what the container's own network namespace has.
func (c *Container) network() (*network.Namespace, error) {
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
	n, err := network.New(config)
	if err != nil {
		return nil, fmt.Errorf("making the network: %w", err)
	}
	return n, nil
}
