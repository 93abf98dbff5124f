// Package netdev moves network devices of the host into a container.
package netdev

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Move moves the devices, by their names in the caller's network namespace,
// into another one, where they get their new names, keep their permanent
// global addresses and are up (runtime-spec, "Network Devices"). The caller
// needs CAP_NET_ADMIN in both, and is not in the other namespace: the parent
// calls it once init's namespace is there. If one device fails, those before
// it stay where they are, and come back (physical ones) or go (virtual ones)
// with the namespace.
func Move(devices map[string]specs.LinuxNetDevice, target *os.File) error {
	if len(devices) == 0 {
		return nil
	}
	if same, err := isOwn(target); err != nil {
		return fmt.Errorf("linux.netDevices: examining the container's network namespace: %w", err)
	} else if same {
		return errors.New("linux.netDevices: the container shares the host's network namespace, so there is nowhere to move devices to: add a network namespace to linux.namespaces")
	}
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("linux.netDevices: opening a netlink socket: %w", err)
	}
	defer here.Close()
	there, err := netlink.NewHandleAt(netns.NsHandle(target.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("linux.netDevices: opening a netlink socket in the container's network namespace: %w", err)
	}
	defer there.Close()
	m := mover{here: here, there: there, target: int(target.Fd())}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		if err := m.move(name, devices[name].Name); err != nil {
			return fmt.Errorf("linux.netDevices[%q]: %w", name, err)
		}
	}
	return nil
}

// isOwn reports whether a network namespace is the caller's.
func isOwn(ns *os.File) (bool, error) {
	own, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return false, err
	}
	other, err := ns.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(own, other), nil
}

// mover moves devices from one network namespace to another.
type mover struct {
	here, there *netlink.Handle
	target      int // descriptor of the other namespace
}

// move moves one device. newName may be empty, for the old one, and may end
// in %d, for the first number that is free.
func (m *mover) move(name, newName string) error {
	if newName == "" {
		newName = name
	}
	if err := checkName(newName); err != nil {
		return err
	}
	link, err := m.here.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding it on the host: %w (ip link shows which there are)", err)
	}
	if link.Attrs().RawFlags&unix.IFF_LOOPBACK != 0 {
		return errors.New("a loopback device cannot be moved: each network namespace has its own")
	}
	addrs, err := m.here.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing its addresses: %w", err)
	}
	newName, err = m.freeName(newName)
	if err != nil {
		return err
	}
	if err := m.change(link.Attrs().Index, newName); err != nil {
		var errno unix.Errno
		if errors.As(err, &errno) && moveCures[errno] != "" {
			return fmt.Errorf("moving it: %w (%s)", err, moveCures[errno])
		}
		return fmt.Errorf("moving it: %w", err)
	}
	link, err = m.there.LinkByName(newName)
	if err != nil {
		return fmt.Errorf("finding it in the container as %s: %w", newName, err)
	}
	for i := range addrs {
		if err := m.restore(link, &addrs[i]); err != nil {
			return fmt.Errorf("giving it back its address %s in the container: %w", addrs[i].IPNet, err)
		}
	}
	if err := m.there.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting it up in the container: %w", err)
	}
	return nil
}

// freeName returns the name that a device gets in the container, where no
// other may have it. It is looked for beforehand, since Linux renames a device
// after it has moved it.
func (m *mover) freeName(name string) (string, error) {
	base, template := strings.CutSuffix(name, "%d")
	for n := 0; ; n++ {
		if template {
			name = base + strconv.Itoa(n)
			if err := checkName(name); err != nil {
				return "", fmt.Errorf("all names like it are taken in the container: %w", err)
			}
		}
		_, err := m.there.LinkByName(name)
		switch {
		case errors.As(err, &netlink.LinkNotFoundError{}):
			return name, nil
		case err != nil:
			return "", fmt.Errorf("looking for devices in the container: %w", err)
		case !template:
			return "", fmt.Errorf("the container's network namespace has a device %s already: give this one another name, such as %s%%d", name, strings.TrimRight(name, "0123456789"))
		}
	}
}

// moveCures is what can be wrong when a device is moved.
var moveCures = map[unix.Errno]string{
	unix.EINVAL: "devices of its kind belong to their namespace, as ip -details link says by netns-immutable or netns-local",
	unix.EPERM:  "this needs CAP_NET_ADMIN in the host's and the container's network namespace",
	unix.EEXIST: "something took its name in the container meanwhile: try again",
}

// change asks the kernel to move a device and to rename it (rtnetlink(7),
// RTM_NEWLINK).
func (m *mover) change(index int, newName string) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(m.target))))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(newName)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// restore gives a device an address again, if it is one that it shall keep:
// moving has taken all.
func (m *mover) restore(link netlink.Link, addr *netlink.Addr) error {
	if addr.Flags&unix.IFA_F_PERMANENT == 0 || addr.Scope != unix.RT_SCOPE_UNIVERSE {
		return nil
	}
	// What the kernel says of an address's state is not for us to set, and
	// labels begin with the device's name.
	const state = unix.IFA_F_PERMANENT | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED | unix.IFA_F_SECONDARY
	again := *addr
	again.Flags &^= state
	again.Label = ""
	again.LinkIndex = 0
	return m.there.AddrReplace(link, &again)
}

// checkName refuses what no device may be called (dev_valid_name in Linux),
// and templates that are no template.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("name %q: it names no device", name)
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("name %q: it is longer than %d characters", name, unix.IFNAMSIZ-1)
	case strings.ContainsAny(name, "/: \t\n\v\f\r"):
		return fmt.Errorf("name %q: spaces, slashes and colons are not allowed", name)
	case strings.Contains(strings.TrimSuffix(name, "%d"), "%"):
		return fmt.Errorf("name %q: only %%d at its end may be a template", name)
	}
	return nil
}
