package hostnet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// cniCall is how plug-ins were called to attach a sandbox: all that it takes to call
// them to detach it, whatever has become of the configuration since.
type cniCall struct {
	// List is the network configuration list.
	List json.RawMessage
	// ID is the sandbox's for plug-ins.
	ID           string
	Capabilities map[string]any
	Plugins      []string

	// done says that they were called to detach.
	done bool
}

// cniPatience bounds what a chain of plug-ins may take.
const cniPatience = 2 * time.Minute

// cniAttachment is an attachment by plug-ins, by its living owner.
type cniAttachment struct {
	networks *Networks
	options  *Options
	record   *record
	file     *os.File // holds the claim
	list     *libcni.NetworkConfigList
	path     string // of the sandbox's network namespace
}

// cni attaches to a network by CNI plug-ins.
func (a *Attachment) cni(n *Networks, o *Options, w Wall) error {
	fail := func(err error) error { return fmt.Errorf("--network %s: %w", o.Network(), err) }
	if !mayConfigure() {
		return fail(errors.New("CNI plug-ins make interfaces on the host, which only root may: run coffer as root, or choose --network user"))
	}
	if w == Namespace {
		switch {
		case o.Egress != nil:
			return errors.New("--egress with isolation process is for Coffer's own bridges, not for CNI networks: use isolation kernel, or --network bridge")
		case o.Rate > 0:
			return errors.New("--net-rate with isolation process is for Coffer's own bridges, not for CNI networks: use the bandwidth plug-in, or isolation kernel")
		}
	}
	c := &cniAttachment{networks: n, options: o}
	if err := c.claim(); err != nil {
		return fail(err)
	}
	a.onClose(c.close)
	if w == Namespace {
		a.Furnish = func(pid int) error {
			result, err := c.add("/proc/" + strconv.Itoa(pid) + "/ns/net")
			if err == nil {
				err = a.namesCNI(c, result)
			}
			if err != nil {
				return fail(err)
			}
			return nil
		}
		return nil
	}
	if err := a.takeOverCNI(c); err != nil {
		return fail(err)
	}
	return nil
}

// takeOverCNI has plug-ins furnish a namespace, and takes its interfaces over.
func (a *Attachment) takeOverCNI(c *cniAttachment) error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	// Plug-ins find it by this path until the attachment is closed, which comes after
	// they have been called to detach.
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd())
	a.undo = slices.Insert(a.undo, 0, ns.Close)
	result, err := c.add(path)
	if err != nil {
		return err
	}
	if err := a.namesCNI(c, result); err != nil {
		return err
	}
	if c.options.Egress == nil {
		return a.take(ns, c.options)
	}
	servers, _ := parseResolvConf(bytes.NewReader(a.Resolv))
	return a.gatewayOn(c.options, ns, servers)
}

// namesCNI are the files by which the sandbox's programs find names.
func (a *Attachment) namesCNI(c *cniAttachment, result *types100.Result) (err error) {
	if a.Resolv, err = c.resolv(result); err != nil {
		return err
	}
	var addresses []netip.Prefix
	for _, ip := range result.IPs {
		if p, ok := prefix(&ip.Address); ok {
			addresses = append(addresses, p)
		}
	}
	a.Hosts = hostsFile(own(c.options.Container, addresses...), c.options.Hosts)
	return nil
}

// claim finds the configuration, and puts the attachment on record.
func (c *cniAttachment) claim() (err error) {
	n, o := c.networks, c.options
	if c.list, err = libcni.LoadNetworkConf(n.CNIConfigs, o.Name); err != nil {
		return fmt.Errorf("there is no CNI network %s in %s (%w): put a network configuration list of that name there, as a file whose name ends in .conflist", o.Name, n.CNIConfigs, err)
	}
	call := &cniCall{Plugins: n.CNIPlugins, Capabilities: map[string]any{}}
	if call.List, err = flatten(c.list); err != nil {
		return err
	}
	if len(o.Publish) > 0 {
		if !c.can("portMappings") {
			return fmt.Errorf("--publish cannot be had: no plug-in of the CNI network %s has the capability portMappings, as portmap does", o.Name)
		}
		call.Capabilities["portMappings"] = portMappings(o.Publish)
	}
	for _, p := range c.list.Plugins {
		if err := c.find(p.Network.Type); err != nil {
			return err
		}
	}
	s, err := n.lockState()
	if err != nil {
		return err
	}
	defer s.unlock()
	r := &record{Network: o.Network(), Container: o.Container, Publish: o.Publish, CNI: call}
	if c.file, err = s.claim(r); err != nil {
		return err
	}
	call.ID = "coffer-" + r.ID
	c.record = r
	if err := s.save(r, c.file); err != nil {
		return errors.Join(err, c.file.Close())
	}
	return nil
}

// find says that a plug-in is not there.
func (c *cniAttachment) find(kind string) error {
	for _, dir := range c.networks.CNIPlugins {
		if st, err := os.Stat(filepath.Join(dir, kind)); err == nil && st.Mode().IsRegular() {
			return nil
		}
	}
	return fmt.Errorf("the CNI plug-in %s is not in %v: install it there, or name its directory with network.cni_plugins in the configuration file", kind, c.networks.CNIPlugins)
}

// can reports whether a plug-in of the network has a capability.
func (c *cniAttachment) can(capability string) bool {
	return slices.ContainsFunc(c.list.Plugins, func(p *libcni.PluginConfig) bool { return p.Network.Capabilities[capability] })
}

// portMapping is the form of the capability portMappings (CNI's CONVENTIONS.md).
type portMapping struct {
	HostPort      uint16 `json:"hostPort"`
	ContainerPort uint16 `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

func portMappings(list []Publish) (mappings []portMapping) {
	for _, p := range list {
		m := portMapping{HostPort: p.HostPort, ContainerPort: p.Port, Protocol: p.Protocol}
		if !p.Address.IsUnspecified() {
			m.HostIP = p.Address.String()
		}
		mappings = append(mappings, m)
	}
	return mappings
}

// flatten writes a list with all of its plug-ins, which may have been in files of their
// own.
func flatten(list *libcni.NetworkConfigList) (json.RawMessage, error) {
	plugins := []json.RawMessage{}
	for _, p := range list.Plugins {
		plugins = append(plugins, p.Bytes)
	}
	return json.Marshal(map[string]any{
		"cniVersion": list.CNIVersion, "name": list.Name, "disableCheck": list.DisableCheck, "plugins": plugins,
	})
}

// runtime says how plug-ins are called for a namespace, which is empty if it is gone.
func (c *cniCall) runtime(path string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: c.ID, NetNS: path, IfName: guestInterface, CapabilityArgs: c.Capabilities}
}

// plugins are those of the directories that the call was made with.
func (n *Networks) plugins(c *cniCall) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(c.Plugins, n.results(c), nil)
}

// results is the directory of what ADD told of a sandbox, which CHECK and DEL tell again.
func (n *Networks) results(c *cniCall) string { return filepath.Join(n.Dir, "cni", c.ID) }

// add calls the plug-ins, and has them check what they have made.
func (c *cniAttachment) add(path string) (*types100.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), cniPatience)
	defer cancel()
	c.path = path
	call := c.record.CNI
	plugins := c.networks.plugins(call)
	got, err := plugins.AddNetworkList(ctx, c.list, call.runtime(path))
	if err != nil {
		// What an ADD that failed has left may be beyond a DEL. Nobody tries again.
		_ = c.networks.detachCNI(c.record, path)
		call.done = true
		return nil, fmt.Errorf("CNI plug-ins: ADD: %w", err)
	}
	result, err := types100.NewResultFromResult(got)
	if err != nil {
		return nil, fmt.Errorf("CNI plug-ins: the result of ADD: %w", err)
	}
	if err := plugins.CheckNetworkList(ctx, c.list, call.runtime(path)); err != nil && !c.list.DisableCheck && hasCheck(c.list.CNIVersion) {
		return nil, fmt.Errorf("CNI plug-ins: CHECK: %w", err)
	}
	return result, nil
}

// hasCheck reports whether a version of the specification has CHECK, as those from
// 0.4.0 on have.
func hasCheck(v string) bool {
	has, err := version.GreaterThanOrEqualTo(v, "0.4.0")
	return err == nil && has
}

// resolv is the sandbox's resolv.conf: what the user asks for, or else the plug-ins, or
// else the host's servers that can be reached from elsewhere.
func (c *cniAttachment) resolv(result *types100.Result) ([]byte, error) {
	servers, search, err := hostResolvers()
	if err != nil {
		return nil, err
	}
	servers = slices.DeleteFunc(servers, func(a netip.Addr) bool { return a.IsLoopback() || a.Zone() != "" })
	var told []netip.Addr
	for _, s := range result.DNS.Nameservers {
		if a, err := netip.ParseAddr(s); err == nil {
			told = append(told, a)
		}
	}
	domains := result.DNS.Search
	if len(domains) == 0 && result.DNS.Domain != "" {
		domains = []string{result.DNS.Domain}
	}
	servers, search = orElse(told, servers), orElse(domains, search)
	return resolvConf(orElse(c.options.DNS, servers), orElse(c.options.Search, search)), nil
}

// close has the plug-ins detach the sandbox.
func (c *cniAttachment) close() error {
	defer c.file.Close()
	path := c.path
	if _, err := os.Stat(path); err != nil {
		path = "" // it went with the sandbox
	}
	if !c.record.CNI.done {
		if err := c.networks.detachCNI(c.record, path); err != nil {
			return err // its record stays, for the next command to try again
		}
	}
	s, err := c.networks.lockState()
	if err != nil {
		return err
	}
	defer s.unlock()
	return s.release(c.networks, c.record)
}

// detachCNI calls the plug-ins to detach a sandbox, which they do again and again.
func (n *Networks) detachCNI(r *record, path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), cniPatience)
	defer cancel()
	list, err := libcni.NetworkConfFromBytes(r.CNI.List)
	if err != nil {
		return fmt.Errorf("CNI plug-ins: DEL: %w", err)
	}
	plugins, runtime := n.plugins(r.CNI), r.CNI.runtime(path)
	if _, err := plugins.GetNetworkListCachedResult(list, runtime); err != nil {
		// Who was killed may have left half a result, and DEL does without.
		if err := os.RemoveAll(n.results(r.CNI)); err != nil {
			return fmt.Errorf("CNI plug-ins: DEL: %w", err)
		}
	}
	if err := plugins.DelNetworkList(ctx, list, runtime); err != nil {
		return fmt.Errorf("CNI plug-ins: DEL: %w", err)
	}
	r.CNI.done = true
	if err := os.RemoveAll(n.results(r.CNI)); err != nil {
		return fmt.Errorf("CNI plug-ins: DEL: %w", err)
	}
	return nil
}
