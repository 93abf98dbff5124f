package hostnet

import (
	"errors"
	"fmt"

	"coffer/internal/sentry/network"
)

// Networks are the networks of this host. "The host" is the network namespace of the
// process.
type Networks struct {
	// Dir is where named networks are kept, and what is attached to them.
	Dir string
	// CNIConfigs is the directory of network configuration lists, CNIPlugins those
	// of the programs that they name.
	CNIConfigs string
	CNIPlugins []string
}

// Where things are if the configuration names no other place.
const (
	DefaultDir        = "/var/lib/coffer/network"
	DefaultCNIConfigs = "/etc/cni/net.d"
	DefaultCNIPlugins = "/opt/cni/bin"
)

// Wall says how a sandbox takes to a network.
type Wall int

const (
	// Frames are what a sentry takes: its network is a TCP/IP stack of its own.
	Frames Wall = iota
	// Namespace is a network namespace of the sandbox's own on the host's kernel.
	Namespace
)

// Attach makes a sandbox's network. Check has passed the options. If it fails,
// nothing of it is left.
func (n *Networks) Attach(o *Options, w Wall) (a *Attachment, err error) {
	a = new(Attachment)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if w == Namespace && o.Capture != "" && o.Mode != ModeUser {
		return a, fmt.Errorf("--pcap with --network %s is for isolation kernel: with isolation process choose --network user, or tcpdump on the host, which sees the sandbox's interface there", o.Network())
	}
	switch o.Mode {
	case ModeNone:
		if len(o.Hosts) > 0 {
			a.Hosts = hostsFile(nil, o.Hosts)
		}
		return a, nil
	case ModeHost:
		return a, a.host(o, w)
	case ModeUser:
		return a, a.user(o, w)
	case ModeBridge:
		return a, a.bridge(n, o, w)
	case ModeCNI:
		return a, a.cni(n, o, w)
	}
	return a, fmt.Errorf("there is no network mode %q", o.Mode)
}

// host attaches to the host's own network.
func (a *Attachment) host(o *Options, w Wall) error {
	a.Host = w == Namespace
	if w == Frames {
		a.Network = &network.Config{Host: true}
	}
	if len(o.DNS)+len(o.Search) > 0 {
		servers, search, err := hostResolvers()
		if err != nil {
			return err
		}
		a.Resolv = resolvConf(orElse(o.DNS, servers), orElse(o.Search, search))
	}
	if len(o.Hosts) > 0 {
		a.Hosts = hostsFile(nil, o.Hosts)
	}
	return nil
}

// orElse returns the list that a user gave, or the other one.
func orElse[T any](given, otherwise []T) []T {
	if len(given) > 0 {
		return given
	}
	return otherwise
}
