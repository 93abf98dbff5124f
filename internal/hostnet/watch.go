package hostnet

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Changes is a netlink socket by which the kernel tells that something has changed in a
// network namespace (rtnetlink(7)): what, TakeOver finds.
type Changes struct{ fd int }

// Watch has the kernel tell from here on of a namespace's interfaces, addresses, routes and rules.
func Watch(ns *os.File) (*Changes, error) {
	c := &Changes{fd: -1}
	err := within(ns, func() (err error) {
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		return err
	})
	if err == nil {
		err = unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK,
			Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE |
				1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1)})
	}
	if err != nil {
		if c.fd >= 0 {
			unix.Close(c.fd)
		}
		return nil, fmt.Errorf("watching the network namespace %s: %w", ns.Name(), err)
	}
	return c, nil
}

// Fd is a descriptor that is readable when something has changed.
func (c *Changes) Fd() int { return c.fd }

// Drain reads what there is. That something was lost (ENOBUFS) is a change as well.
func (c *Changes) Drain() {
	for b := make([]byte, 8<<10); ; {
		switch _, _, err := unix.Recvfrom(c.fd, b, 0); err {
		case nil, unix.EINTR, unix.ENOBUFS:
		default:
			return
		}
	}
}
