package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"coffer/internal/egress"
)

// Mode is what --network names.
type Mode string

const (
	// ModeNone has a loopback interface and nothing else.
	ModeNone Mode = "none"
	// ModeUser ends the sandbox's flows in sockets of an unprivileged helper.
	ModeUser Mode = "user"
	// ModeBridge joins the sandbox to a bridge of the host's, which takes root.
	ModeBridge Mode = "bridge"
	// ModeHost uses the host's own sockets.
	ModeHost Mode = "host"
	// ModeCNI leaves it to plug-ins, which take root.
	ModeCNI Mode = "cni"
)

// Modes lists those that a network is called by; other names are those of named
// networks, or cni:NAME.
var Modes = []Mode{ModeNone, ModeUser, ModeBridge, ModeHost}

// Options are what a user asks of a sandbox's network.
type Options struct {
	Mode Mode
	// Name is the named network of ModeBridge, where empty is the default one, or
	// the network configuration list of ModeCNI.
	Name string
	// Container is the sandbox's own name on a named network.
	Container string
	Publish   []Publish
	// DNS are the name servers to ask instead of the host's; Search its domains.
	DNS    []netip.Addr
	Search []string
	// Hosts are further lines of /etc/hosts.
	Hosts []Host
	// Egress, if not nil, is what may be reached.
	Egress *egress.Policy
	// EgressLog is the file for what is refused, as JSON lines; empty is standard error, as text.
	EgressLog string
	// Rate limits each direction, in bytes a second; 0 is no limit.
	Rate uint64
	// Capture is the file for what crosses the sandbox's edge, as pcap; empty is none.
	Capture string
}

// SetNetwork sets Mode and Name from the value of --network.
func (o *Options) SetNetwork(value string) error {
	if m := Mode(value); slices.Contains(Modes, m) {
		o.Mode, o.Name = m, ""
		return nil
	}
	if name, ok := strings.CutPrefix(value, "cni:"); ok {
		if name == "" || strings.ContainsAny(name, "/\x00") || len(name) > 255 {
			return fmt.Errorf("%q names no CNI network: it is cni:NAME, with the name of a network configuration list", value)
		}
		o.Mode, o.Name = ModeCNI, name
		return nil
	}
	if err := checkName(value); err != nil {
		return fmt.Errorf("%w; a network is none, user, bridge, host, cni:NAME, or one that 'coffer network create' has made", err)
	}
	o.Mode, o.Name = ModeBridge, value
	return nil
}

// Network returns the value of --network.
func (o *Options) Network() string {
	switch {
	case o.Mode == ModeCNI:
		return "cni:" + o.Name
	case o.Name != "":
		return o.Name
	}
	return string(o.Mode)
}

// Check says which options do not go together.
func (o *Options) Check() error {
	closed := o.Mode == ModeNone
	for _, c := range []struct {
		wrong bool
		says  string
	}{
		{closed && len(o.Publish) > 0, "--publish leads into the sandbox, which --network none closes: choose --network user or bridge"},
		{closed && len(o.DNS)+len(o.Search) > 0, "--dns and --dns-search are for a network that leads out, and --network none does not: choose another network, or leave them out"},
		{closed && o.Egress != nil && !o.Egress.Empty(), "--egress permits destinations, and with --network none there are none: choose --network user or bridge, or --egress none"},
		{closed && o.Rate > 0, "--net-rate limits what crosses the sandbox's edge, and with --network none nothing does"},
		{closed && o.Capture != "", "--pcap captures what crosses the sandbox's edge, and with --network none nothing does"},
		{o.Mode == ModeHost && len(o.Publish) > 0, "--publish has no use with --network host, where programs listen on the host's ports themselves"},
		{o.Mode == ModeHost && o.Egress != nil, "--egress cannot be had with --network host, where programs use the host's sockets: choose --network user or bridge"},
		{o.Capture == "-", "--pcap - would mix with what the program writes: name a file, or in bash a program that reads it, as in --pcap >(tcpdump -nr -)"},
		{o.EgressLog == "-", "--egress-log - would mix with what the program writes: name a file, or leave it out for lines on standard error"},
		{o.EgressLog != "" && o.Egress == nil, "--egress-log takes what --egress refuses: give --egress as well"},
		{o.Mode == ModeHost && o.Rate > 0, "--net-rate cannot be had with --network host, where programs use the host's sockets: choose --network user or bridge"},
		{o.Mode == ModeHost && o.Capture != "", "--pcap cannot be had with --network host, where programs use the host's sockets: choose --network user or bridge"},
	} {
		if c.wrong {
			return errors.New(c.says)
		}
	}
	for i, p := range o.Publish {
		for _, q := range o.Publish[:i] {
			if p.overlaps(q) {
				return fmt.Errorf("--publish %s and --publish %s take the same port of the host's", q, p)
			}
		}
	}
	return nil
}

// checkName says what is wrong with the name of a network, which is a part of the
// names of files and a word of a command line.
func checkName(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch {
	case name == "":
		return errors.New("the name of the network is empty")
	case len(name) > 64:
		return fmt.Errorf("the name of the network has %d characters, and 64 at most are possible", len(name))
	case strings.IndexByte(letters, name[0]) < 0:
		return fmt.Errorf("%q is no name of a network: the first character is a letter or digit", name)
	}
	for _, r := range name {
		if !strings.ContainsRune(letters+"-._", r) {
			return fmt.Errorf("%q is no name of a network: it has the character %q, and letters, digits, '-', '.' and '_' are possible", name, r)
		}
	}
	return nil
}
