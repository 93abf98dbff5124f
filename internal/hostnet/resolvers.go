package hostnet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// hostResolvers returns the name servers and the search domains of the host's
// resolv.conf(5). A host without that file asks its own port 53.
func hostResolvers() (servers []netip.Addr, search []string, err error) {
	f, err := os.Open("/etc/resolv.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading which name servers the host has: %w", err)
	}
	defer f.Close()
	servers, search = parseResolvConf(f)
	return servers, search, nil
}

// parseResolvConf reads a resolv.conf(5), of which glibc takes three servers, and
// the last of its search lists.
func parseResolvConf(r io.Reader) (servers []netip.Addr, search []string) {
	const maxServers = 3
	for lines := bufio.NewScanner(io.LimitReader(r, 1<<20)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil && len(servers) < maxServers {
				servers = append(servers, a)
			}
		case "search", "domain":
			search = words[1:]
		}
	}
	return servers, search
}
