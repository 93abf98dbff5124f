package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
)

// forwardingFile has the network namespace in which Coffer has switched forwarding on.
const forwardingFile = "forwarding.json"

const (
	forward4 = "/proc/sys/net/ipv4/ip_forward"
	forward6 = "/proc/sys/net/ipv6/conf/all/forwarding"
)

// forwarding makes the host forward packets of IPv4 while anything is attached, and
// reports whether that is so only by Coffer. Forwarding of IPv6 is left as it is: with
// it a host no longer takes its own addresses from router advertisements.
func (s *state) forwarding() (onlyOurs bool, err error) {
	var ours hostID
	if err := readJSON(s.path(forwardingFile), &ours); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	wanted := len(s.here()) > 0
	switch {
	case wanted && ours == s.host:
		return true, nil
	case wanted:
		on, err := readSysctl(forward4)
		if err != nil || on == "1" {
			return false, err
		}
		if err := writeJSON(s.path(forwardingFile), s.host); err != nil {
			return false, err
		}
		slog.Debug("net.ipv4.ip_forward is switched on while sandboxes are attached to bridges, for their packets only")
		return true, writeSysctl(forward4, "1")
	case ours == s.host:
		if err := writeSysctl(forward4, "0"); err != nil {
			return false, err
		}
		return false, os.Remove(s.path(forwardingFile))
	}
	return false, nil
}

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
