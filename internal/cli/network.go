package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"

	"coffer/internal/hostnet"

	"github.com/spf13/cobra"
)

// newNetwork is `coffer network` with its commands.
func newNetwork() *cobra.Command {
	c := &cobra.Command{
		Use:   "network",
		Short: "Make, list and remove networks that sandboxes share",
		Long: `Make, list and remove the networks that 'coffer do --network NAME' joins a
sandbox to. Sandboxes on one network reach each other, by the names that
--hostname gives them.`,
		Example: `  coffer network create lan
  coffer do --network lan --hostname db -- ./database
  coffer do --network lan -- ./client db
  coffer network rm lan`,
	}
	c.AddCommand(newNetworkCreate(), newNetworkList(), newNetworkInspect(), newNetworkRemove())
	onlySubcommands(c)
	return c
}

// networkVerb makes c a command about the host's networks.
func networkVerb(c *cobra.Command, run func(n *hostnet.Networks, args []string) error) *cobra.Command {
	c.DisableFlagsInUseLine = true
	c.RunE = func(c *cobra.Command, args []string) error {
		config, err := readConfig(configPath)
		if err == nil {
			err = run(config.Network.networks(), args)
		}
		if err != nil {
			return &exitError{exitUsage, err.Error()}
		}
		return nil
	}
	return c
}

func newNetworkCreate() *cobra.Command {
	var subnet, gateway, driver string
	c := &cobra.Command{
		Use:   "create [flags] NAME",
		Short: "Make a network",
		Long: `Make a network called NAME. The bridge of the host's that it stands for is
there while sandboxes are on it.`,
		Example: `  coffer network create lan
  coffer network create dmz --subnet 192.168.77.0/24 --gateway 192.168.77.254
  coffer network create overlay --driver cni:flannel`,
		Args:              exactly(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVar(&subnet, "subnet", "", "the network's IPv4 addresses, such as 192.168.77.0/24 (default: some that nobody has)")
	c.Flags().StringVar(&gateway, "gateway", "", "the bridge's address in it (default: the first one)")
	c.Flags().StringVar(&driver, "driver", hostnet.DriverBridge, "what makes the network: bridge, or cni:NAME for a network configuration list of CNI")
	c.RegisterFlagCompletionFunc("driver", cobra.FixedCompletions([]string{hostnet.DriverBridge, hostnet.DriverCNI + ":"}, cobra.ShellCompDirectiveNoFileComp))
	return networkVerb(c, func(n *hostnet.Networks, args []string) error {
		net := &hostnet.Network{Name: args[0], Driver: driver}
		if err := readNetwork(net, driver, subnet, gateway); err != nil {
			return err
		}
		return n.Create(net)
	})
}

// readNetwork reads the flags of create.
func readNetwork(net *hostnet.Network, driver, subnet, gateway string) (err error) {
	if config, ok := strings.CutPrefix(driver, hostnet.DriverCNI+":"); ok {
		var o hostnet.Options
		if err := o.SetNetwork(driver); err != nil {
			return fmt.Errorf("--driver: %w", err)
		}
		net.Driver, net.CNI = hostnet.DriverCNI, config
		if subnet != "" || gateway != "" {
			return errors.New("--subnet and --gateway are for --driver bridge: the CNI configuration has those of its network")
		}
		return nil
	}
	if driver != hostnet.DriverBridge {
		return fmt.Errorf("--driver %q is not known: it is bridge or cni:NAME", driver)
	}
	if subnet != "" {
		if net.Subnet, err = netip.ParsePrefix(subnet); err != nil {
			return fmt.Errorf("--subnet %q is no network: write for example 192.168.77.0/24", subnet)
		}
	}
	if gateway == "" {
		return nil
	}
	if subnet == "" {
		return errors.New("--gateway needs --subnet, of which it is an address")
	}
	if net.Gateway, err = netip.ParseAddr(gateway); err != nil {
		return fmt.Errorf("--gateway %q is no address", gateway)
	}
	return nil
}

func newNetworkList() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "ls [flags]",
		Aliases: []string{"list"},
		Short:   "List the networks",
		Long: `List the networks that have been made. What killed sandboxes have left on the
host is removed.`,
		Example:           "  coffer network ls\n  coffer network ls --format json",
		Args:              exactly(0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVarP(&format, "format", "f", "table", "table or json")
	completeFormat(c)
	return networkVerb(c, func(n *hostnet.Networks, _ []string) error {
		if err := checkFormat(format); err != nil {
			return err
		}
		if err := n.Collect(); err != nil {
			return err
		}
		names, err := n.Names()
		if err != nil {
			return err
		}
		list := []*hostnet.Network{}
		for _, name := range names {
			net, err := n.Find(name)
			if err != nil {
				return err
			}
			list = append(list, net)
		}
		if format == "json" {
			return json.NewEncoder(c.OutOrStdout()).Encode(list)
		}
		return printNetworks(c.OutOrStdout(), list)
	})
}

func printNetworks(w io.Writer, list []*hostnet.Network) error {
	tw := tabwriter.NewWriter(w, 12, 1, 3, ' ', 0)
	fmt.Fprintln(tw, "NAME\tDRIVER\tSUBNET\tGATEWAY")
	for _, n := range list {
		if n.Driver == hostnet.DriverCNI {
			fmt.Fprintf(tw, "%s\t%s:%s\t-\t-\n", n.Name, n.Driver, n.CNI)
			continue
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", n.Name, n.Driver, n.Subnet, n.Gateway)
	}
	return tw.Flush()
}

func newNetworkInspect() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "inspect [flags] NAME",
		Short:   "Show a network, and which sandboxes are on it",
		Long:    "Show a network, and which sandboxes are on it. NAME may be\nbridge, for the network of 'coffer do --network bridge'.",
		Example: "  coffer network inspect lan\n  coffer network inspect bridge --format table",
		Args:    exactly(1),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			names, directive := completeNetwork(c, args, word)
			if len(args) == 0 {
				names = append(names, string(hostnet.ModeBridge))
			}
			return names, directive
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "json", "table or json")
	completeFormat(c)
	return networkVerb(c, func(n *hostnet.Networks, args []string) error {
		if err := checkFormat(format); err != nil {
			return err
		}
		net, attached, err := n.Inspect(args[0])
		if err != nil {
			return err
		}
		if format == "json" {
			return printJSON(c.OutOrStdout(), struct {
				*hostnet.Network
				Attached []hostnet.Attached `json:"attached"`
			}{net, attached})
		}
		return printAttached(c.OutOrStdout(), attached)
	})
}

func printAttached(w io.Writer, list []hostnet.Attached) error {
	tw := tabwriter.NewWriter(w, 12, 1, 3, ' ', 0)
	fmt.Fprintln(tw, "NAME\tADDRESSES\tPUBLISHED")
	for _, a := range list {
		var addresses []string
		for _, p := range a.Addresses {
			addresses = append(addresses, p.Addr().String())
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", a.Name, strings.Join(addresses, " "), strings.Join(a.Publish, " "))
	}
	return tw.Flush()
}

func newNetworkRemove() *cobra.Command {
	c := &cobra.Command{
		Use:               "rm NAME",
		Aliases:           []string{"remove", "delete"},
		Short:             "Remove a network",
		Long:              "Remove a network that no sandbox is on.",
		Example:           "  coffer network rm lan",
		Args:              exactly(1),
		ValidArgsFunction: completeNetwork,
	}
	return networkVerb(c, func(n *hostnet.Networks, args []string) error { return n.Remove(args[0]) })
}

// completeNetwork completes the name of a network, the first argument.
func completeNetwork(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	config, err := readConfig(configPath)
	if len(args) > 0 || err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := config.Network.networks().Names()
	return names, cobra.ShellCompDirectiveNoFileComp
}
