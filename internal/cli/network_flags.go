package cli

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"coffer/internal/egress"
	"coffer/internal/hostnet"
	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// networkFlags are the flags that say what a sandbox can reach, and what reaches it.
type networkFlags struct {
	network string
	publish []string
	dns     []string
	search  []string
	hosts   []string
	egress  string
	refused string
	rate    string
	capture string
}

// networkNames are the flags whose empty value is a mistake.
var networkNames = []string{"network", "egress", "egress-log", "net-rate", "pcap"}

func (f *networkFlags) flags(fl *pflag.FlagSet) {
	fl.StringVar(&f.network, "network", "", "what the sandbox reaches: none, user, bridge, host, cni:NAME, or the name of a network of 'coffer network' (default user with isolation kernel and none with isolation process, see docs/networking.md)")
	fl.StringArrayVarP(&f.publish, "publish", "p", nil, "lead a port of the host's, or a range such as 8000-8010, into the sandbox: [HOST:]PORT[:PORT][/udp], an IPv6 HOST in brackets (repeatable)")
	fl.StringArrayVar(&f.dns, "dns", nil, "the address of a name server to ask instead of the host's (repeatable)")
	fl.StringArrayVar(&f.search, "dns-search", nil, "a domain to look names up in, instead of the host's (repeatable)")
	fl.StringArrayVar(&f.hosts, "add-host", nil, "a name for an address, NAME:ADDRESS (repeatable)")
	fl.StringVar(&f.egress, "egress", "", "permit only these destinations: none, or rules such as 'pypi.org:443, 10.0.0.0/8:5432'")
	fl.StringVar(&f.refused, "egress-log", "", "add what --egress refuses to this file, as JSON lines (default: as text to standard error)")
	fl.StringVar(&f.rate, "net-rate", "", "limit the network's rate in each direction, in bytes a second such as 10M, or bits such as 80Mbit")
	fl.StringVar(&f.capture, "pcap", "", "write what crosses the sandbox's edge to this file, for Wireshark and tcpdump")
}

// complete completes the words that the flags take.
func (f *networkFlags) complete(c *cobra.Command) {
	c.RegisterFlagCompletionFunc("network", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var words []string
		for _, m := range hostnet.Modes {
			words = append(words, string(m))
		}
		names, directive := completeNetwork(nil, nil, "")
		return append(words, names...), directive
	})
	c.RegisterFlagCompletionFunc("pcap", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"pcap"}, cobra.ShellCompDirectiveFilterFileExt
	})
}

// options reads the flags. mode is the network if neither the flag nor the
// configuration file names one.
func (f *networkFlags) options(config *networkConfig, mode hostnet.Mode) (*hostnet.Options, error) {
	o := &hostnet.Options{Mode: mode}
	for _, say := range []struct{ who, value string }{{"--network", f.network}, {configPath + ": network.default", config.Default}} {
		if say.value == "" {
			continue
		}
		if err := o.SetNetwork(say.value); err != nil {
			return nil, fmt.Errorf("%s: %w", say.who, err)
		}
		break
	}
	if err := config.permit(o); err != nil {
		return nil, err
	}
	for _, s := range f.publish {
		p, err := hostnet.ParsePublish(s)
		if err != nil {
			return nil, fmt.Errorf("--publish %w", err)
		}
		o.Publish = append(o.Publish, p...)
	}
	for _, s := range f.dns {
		a, err := netip.ParseAddr(s)
		if err != nil || a.IsUnspecified() || a.IsMulticast() {
			return nil, fmt.Errorf("--dns %q is not the address of a name server: write for example 192.0.2.53", s)
		}
		o.DNS = append(o.DNS, a.Unmap())
	}
	for _, s := range f.search {
		if err := hostnet.CheckSearch(s); err != nil {
			return nil, fmt.Errorf("--dns-search: %w", err)
		}
		o.Search = append(o.Search, s)
	}
	for _, s := range f.hosts {
		h, err := hostnet.ParseHost(s)
		if err != nil {
			return nil, fmt.Errorf("--add-host: %w", err)
		}
		o.Hosts = append(o.Hosts, h)
	}
	var err error
	if f.egress != "" {
		if o.Egress, err = egress.Parse(f.egress); err != nil {
			return nil, fmt.Errorf("--egress: %w", err)
		}
	}
	if f.rate != "" {
		if o.Rate, err = hostnet.ParseRate(f.rate); err != nil {
			return nil, fmt.Errorf("--net-rate %w", err)
		}
	}
	o.EgressLog = f.refused
	o.Capture = f.capture
	return o, o.Check()
}

// networkConfig is the part of the configuration file that is about networks.
type networkConfig struct {
	// Default is what --network is for `coffer do` if it is left out.
	Default string `toml:"default"`
	// Deny lists values of --network that nobody may use.
	Deny []string `toml:"deny"`
	// Directory, CNIConfigs and CNIPlugins are those of hostnet.Networks.
	Directory  string   `toml:"directory"`
	CNIConfigs string   `toml:"cni_configs"`
	CNIPlugins []string `toml:"cni_plugins"`
}

// check says what is wrong with the configuration.
func (c *networkConfig) check() error {
	var o hostnet.Options
	if c.Default != "" {
		if err := o.SetNetwork(c.Default); err != nil {
			return fmt.Errorf("network.default: %w", err)
		}
	}
	for _, name := range c.Deny {
		if name == string(hostnet.ModeCNI) {
			continue
		}
		if err := o.SetNetwork(name); err != nil {
			return fmt.Errorf("network.deny: %w", err)
		}
	}
	for key, paths := range map[string][]string{"directory": {c.Directory}, "cni_configs": {c.CNIConfigs}, "cni_plugins": c.CNIPlugins} {
		for _, path := range paths {
			if path != "" && !filepath.IsAbs(path) {
				return fmt.Errorf("network.%s %q is not an absolute path", key, path)
			}
		}
	}
	return nil
}

// permit refuses what the configuration file does.
func (c *networkConfig) permit(o *hostnet.Options) error {
	for _, name := range []string{string(o.Mode), o.Name, o.Network()} {
		if name != "" && slices.Contains(c.Deny, name) {
			return fmt.Errorf("--network %s is refused by this host's administrator (network.deny in %s has %q): choose another one", o.Network(), configPath, name)
		}
	}
	return nil
}

// permitSpec refuses a container that is to have the host's network, where the
// configuration file does.
func (c *networkConfig) permitSpec(spec *specs.Spec) error {
	if !slices.Contains(c.Deny, string(hostnet.ModeHost)) || !oci.UsesHostNetwork(spec) {
		return nil
	}
	return fmt.Errorf("linux.namespaces has no network, so the container would use the host's, which this host's administrator refuses (network.deny in %s): add {\"type\": \"network\"}", configPath)
}

// networks are the host's networks as the configuration has them.
func (c *networkConfig) networks() *hostnet.Networks {
	n := &hostnet.Networks{Dir: c.Directory, CNIConfigs: c.CNIConfigs, CNIPlugins: c.CNIPlugins}
	if n.Dir == "" {
		n.Dir = hostnet.DefaultDir
	}
	if n.CNIConfigs == "" {
		n.CNIConfigs = hostnet.DefaultCNIConfigs
	}
	if len(n.CNIPlugins) == 0 {
		n.CNIPlugins = []string{hostnet.DefaultCNIPlugins}
	}
	return n
}
