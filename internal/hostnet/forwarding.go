package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
)

// forwardingFile says where Coffer has switched forwarding on.
const forwardingFile = "forwarding.json"

const (
	forward4 = "/proc/sys/net/ipv4/ip_forward"
	forward6 = "/proc/sys/net/ipv6/conf/all/forwarding"
)

// forwarding are the interfaces of a host at which Coffer has switched forwarding of
// IPv4 on.
type forwarding struct {
	Host       hostID
	Interfaces []string
}

// forward makes the host forward packets of IPv4 while anything is attached: where
// that is not on for all of the host, at each interface that it has. It returns those
// at which it is on only by Coffer. The setting for all is left alone: others, Docker
// for example, that find it on take it that it stays so. Forwarding of IPv6 is left
// as it is: with it a host no longer takes its own addresses from routers.
func (s *state) forward() ([]string, error) {
	var ours forwarding
	if err := readJSON(s.path(forwardingFile), &ours); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if ours.Host != s.host {
		ours = forwarding{Host: s.host} // that one is gone, with its settings
	}
	all, err := readSysctl(forward4)
	if err != nil {
		return nil, err
	}
	if all == "1" {
		// By somebody who wants it so.
		return nil, s.saveForwarding(nil)
	}
	if len(s.here()) == 0 {
		for _, name := range ours.Interfaces {
			if err := writeSysctl(forwardAt(name), "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		return nil, s.saveForwarding(nil)
	}
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing the host's interfaces: %w", err)
	}
	for _, i := range list {
		// Coffer's own go with the last sandbox.
		if i.Flags&net.FlagLoopback != 0 || strings.HasPrefix(i.Name, vethPrefix) || slices.Contains(ours.Interfaces, i.Name) {
			continue
		}
		bridge := slices.ContainsFunc(s.here(), func(r *record) bool { return r.Bridge == i.Name })
		switch on, err := readSysctl(forwardAt(i.Name)); {
		case err != nil || on == "1":
			continue // gone, or as somebody wants it
		case !bridge:
			ours.Interfaces = append(ours.Interfaces, i.Name)
			if err := s.saveForwarding(&ours); err != nil {
				return nil, err
			}
			slog.Debug("forwarding of IPv4 is switched on at " + i.Name + " while sandboxes are attached to bridges")
		}
		if err := writeSysctl(forwardAt(i.Name), "1"); err != nil {
			return nil, err
		}
	}
	return ours.Interfaces, nil
}

// saveForwarding notes what is to be switched off again.
func (s *state) saveForwarding(f *forwarding) error {
	if f != nil {
		return writeJSON(s.path(forwardingFile), f)
	}
	if err := os.Remove(s.path(forwardingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func forwardAt(name string) string { return "/proc/sys/net/ipv4/conf/" + name + "/forwarding" }

// forwards6 reports whether the host forwards packets of IPv6.
func forwards6() bool {
	on, err := readSysctl(forward6)
	return err == nil && on == "1"
}

func readSysctl(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}

func writeSysctl(path, value string) error {
	if now, err := readSysctl(path); err == nil && now == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("setting %s to %s: %w: a bridge takes it, so set it beforehand or choose --network user", strings.TrimPrefix(path, "/proc/sys/"), value, err)
	}
	return nil
}
