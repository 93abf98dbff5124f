package egress

import "errors"

// errMore says that what has come so far is a beginning.
var errMore = errors.New("more is needed")

// firstVerdict compares whom a flow's first bytes name with the names that permit it. At the
// web's ports they must name somebody; elsewhere, what names nobody passes: there, clients
// may wait for the server to speak first, and need not name it.
func firstVerdict(port uint16, candidates []candidate, first []byte, last bool) Verdict {
	said, what, err := nameIn(first)
	switch {
	case errors.Is(err, errMore) && !last && what == "" && !webPorts[port] && !couldBeHTTP(first):
		return Verdict{Decision: Pass, Name: candidates[0].name}
	case errors.Is(err, errMore) && !last:
		return Verdict{Decision: Inspect, Name: candidates[0].name}
	case errors.Is(err, errMore) && what == "" && len(first) >= maxHead:
		return refuse(candidates[0].name, "the first line does not end within %d bytes, and may be one of HTTP", len(first)).beside(candidates[0].rule)
	case errors.Is(err, errMore) && what != "":
		return refuse(candidates[0].name, "the %s does not end in time, or within %d bytes", what, len(first)).beside(candidates[0].rule)
	case err != nil && what != "":
		return refuse(candidates[0].name, "the %s is malformed: %v", what, err).beside(candidates[0].rule)
	}
	return namedVerdict(port, candidates, said, what)
}

// namedVerdict compares what is said in something, perhaps nothing, with the names that
// permit a flow.
func namedVerdict(port uint16, candidates []candidate, said, what string) Verdict {
	switch {
	case said == "" && webPorts[port]:
		return refuse(candidates[0].name, "at port %d a flow that is permitted by name must begin with TLS or HTTP/1 that says the name (SNI, Host)", port).beside(candidates[0].rule)
	case said == "":
		return permit(candidates[0].rule, candidates[0].name)
	}
	canonical, err := canonicalName(said)
	if err == nil {
		for _, c := range candidates {
			if c.name == canonical {
				return permit(c.rule, c.name)
			}
		}
	}
	return refuse(said, "the %s names %q, but the address is permitted as %s", what, shorten(said), list(candidates)).beside(candidates[0].rule)
}

// list names candidates, a few of them.
func list(candidates []candidate) string {
	s := candidates[0].name
	for i, c := range candidates[1:] {
		if i == 3 {
			return s + ", …"
		}
		s += ", " + c.name
	}
	return s
}

// nameIn returns the server's name that a client says in a flow's first bytes, and in what
// it says it. Both are "" for a protocol that it does not know; errMore then says that more
// bytes could make it one that it does.
func nameIn(first []byte) (name, what string, err error) {
	if len(first) == 0 {
		return "", "", errMore
	}
	is, err := looksLikeTLS(first)
	switch {
	case err != nil:
		return "", "", err
	case is:
		name, err = serverName(first)
		return name, "TLS ClientHello", err
	}
	is, err = looksLikeHTTP(first)
	if err != nil || !is {
		return "", "", err
	}
	name, err = requestHost(first)
	return name, "HTTP request", err
}
