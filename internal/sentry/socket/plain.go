package socket

import (
	"encoding/binary"
	"math"
	"sync"

	"golang.org/x/sys/unix"
)

// Plain are the options of SOL_SOCKET that each socket has, and that mean nothing to a family
// beyond being given back: what means something the family answers before. The zero value has
// none set.
type Plain struct {
	mu  sync.Mutex
	set map[int32]uint64
}

// plain is one of these options.
type plain struct {
	name int32
	// initial is its value before it is set.
	initial uint64
	// size is that of the value that getsockopt(2) gives, 0 for EOPNOTSUPP; least is that of the
	// smallest which setsockopt(2) takes.
	size, least int
	// check makes of the value that is set the one that is kept, or refuses it. can says what
	// the caller is capable of.
	check func(v int32, can func(capability int) bool) (int32, error)
}

var plainOptions = []plain{
	number(unix.SO_DEBUG, 0, adminOnly), number(unix.SO_REUSEADDR, 0, truth), number(unix.SO_DONTROUTE, 0, truth),
	number(unix.SO_BROADCAST, 0, truth), number(unix.SO_KEEPALIVE, 0, truth), number(unix.SO_OOBINLINE, 0, truth),
	number(unix.SO_NO_CHECK, 0, truth), number(unix.SO_PRIORITY, 0, priority), number(unix.SO_BSDCOMPAT, 0, zero),
	number(unix.SO_REUSEPORT, 0, offOnly), number(unix.SO_RCVLOWAT, 1, lowWater), number(unix.SO_SNDLOWAT, 1, readOnly),
	number(unix.SO_MARK, 0, networkOnly), number(unix.SO_RXQ_OVFL, 0, truth),
	number(unix.SO_WIFI_STATUS, 0, truth), number(unix.SO_NOFCS, 0, truth),
	number(unix.SO_SELECT_ERR_QUEUE, 0, truth), number(unix.SO_BUSY_POLL, 0, natural),
	number(unix.SO_PREFER_BUSY_POLL, 0, truth), number(unix.SO_BPF_EXTENSIONS, 64 /* SKF_AD_MAX */, readOnly),
	number(unix.SO_INCOMING_CPU, math.MaxUint32 /* -1 */, anything), number(unix.SO_INCOMING_NAPI_ID, 0, readOnly),
	number(unix.SO_ZEROCOPY, 0, unsupported), number(unix.SO_BINDTOIFINDEX, 0, natural), number(unix.SO_BUF_LOCK, 0, lock),
	number(unix.SO_RESERVE_MEM, 0, reserve), number(unix.SO_RCVMARK, 0, truth), number(unix.SO_RCVPRIORITY, 0, truth),
	{unix.SO_PEEK_OFF, 0, 0, 4, unsupported}, {unix.SO_TXREHASH, 0, 0, 4, unsupported},
	{unix.SO_PASSCRED, 0, 0, 4, unsupported}, {unix.SO_PASSSEC, 0, 0, 4, unsupported},
	{unix.SO_PASSPIDFD, 0, 0, 4, unsupported}, {unix.SO_PASSRIGHTS, 0, 0, 4, unsupported},
	{unix.SO_LINGER, 0, 8, 8, truth}, {unix.SO_MAX_PACING_RATE, math.MaxUint64, 8, 4, anything},
}

func number(name int32, initial uint64, check func(int32, func(int) bool) (int32, error)) plain {
	return plain{name, initial, 4, 4, check}
}

func truth(v int32, _ func(int) bool) (int32, error) {
	if v != 0 {
		v = 1
	}
	return v, nil
}

func zero(int32, func(int) bool) (int32, error)         { return 0, nil }
func anything(v int32, _ func(int) bool) (int32, error) { return v, nil }
func readOnly(int32, func(int) bool) (int32, error)     { return 0, unix.ENOPROTOOPT }
func unsupported(int32, func(int) bool) (int32, error)  { return 0, unix.EOPNOTSUPP }

// reserve is SO_RESERVE_MEM, for families that count the memory of each socket.
func reserve(v int32, _ func(int) bool) (int32, error) {
	if v < 0 {
		return 0, unix.EINVAL
	}
	return 0, unix.EOPNOTSUPP
}

func natural(v int32, _ func(int) bool) (int32, error) {
	if v < 0 {
		return 0, unix.EINVAL
	}
	return v, nil
}

func lock(v int32, _ func(int) bool) (int32, error) {
	if v&^3 != 0 {
		return 0, unix.EINVAL
	}
	return v, nil
}

func offOnly(v int32, _ func(int) bool) (int32, error) {
	if v != 0 {
		return 0, unix.EOPNOTSUPP
	}
	return 0, nil
}

func lowWater(v int32, _ func(int) bool) (int32, error) {
	if v < 0 {
		return math.MaxInt32, nil
	}
	return max(v, 1), nil
}

func adminOnly(v int32, can func(int) bool) (int32, error) {
	if v != 0 && !can(unix.CAP_NET_ADMIN) {
		return 0, unix.EACCES
	}
	return truth(v, can)
}

func networkOnly(v int32, can func(int) bool) (int32, error) {
	if !can(unix.CAP_NET_ADMIN) && !can(unix.CAP_NET_RAW) {
		return 0, unix.EPERM
	}
	return v, nil
}

func priority(v int32, can func(int) bool) (int32, error) {
	if v < 0 || v > 6 {
		return networkOnly(v, can)
	}
	return v, nil
}

func findPlain(name int32) *plain {
	for i := range plainOptions {
		if plainOptions[i].name == name {
			return &plainOptions[i]
		}
	}
	return nil
}

// SetHint sets an option that says something of which nothing follows here, and that cannot be asked for; ok is false if it
// is none.
func SetHint(name, v int32) (ok bool, err error) {
	switch name {
	case unix.SO_CNX_ADVICE: // that the way to the peer is bad, which is the only one
		return true, nil
	case unix.SO_BUSY_POLL_BUDGET: // there is no device to poll
		if v < 0 || v > math.MaxUint16 {
			return true, unix.EINVAL
		}
		return true, nil
	}
	return false, nil
}

// PlainOption returns an option's value: ENOPROTOOPT if it is none of these, EOPNOTSUPP if only
// other families have it.
func (p *Plain) PlainOption(name int32) ([]byte, error) {
	switch name { // of a peer that has none
	case unix.SO_PEERCRED:
		return Ucred{UID: ^uint32(0), GID: ^uint32(0)}.Bytes(), nil
	case unix.SO_PEERGROUPS, unix.SO_PEERPIDFD:
		return nil, unix.ENODATA
	}
	o := findPlain(name)
	if o == nil {
		return nil, unix.ENOPROTOOPT
	}
	if o.size == 0 {
		return nil, unix.EOPNOTSUPP
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v, set := p.set[name]
	if !set {
		v = o.initial
	}
	return binary.LittleEndian.AppendUint64(nil, v)[:o.size], nil
}

// SetPlainOption sets one: ENOPROTOOPT if it is none of these, EINVAL for a value that is too
// short or that there is none of, EPERM or EACCES for one that takes a capability which can
// denies, EOPNOTSUPP for one that only other families have.
func (p *Plain) SetPlainOption(name int32, value []byte, can func(capability int) bool) error {
	o := findPlain(name)
	if len(value) >= 4 {
		if ok, err := SetHint(name, int32(binary.LittleEndian.Uint32(value))); ok {
			return err
		}
	}
	switch {
	case name == unix.SO_ATTACH_REUSEPORT_CBPF || name == unix.SO_DETACH_REUSEPORT_BPF:
		return unix.EINVAL // for sockets that share a port
	case len(value) < 4 || o != nil && len(value) < o.least:
		return unix.EINVAL
	case o == nil:
		return unix.ENOPROTOOPT
	}
	low, err := o.check(int32(binary.LittleEndian.Uint32(value)), can)
	if err != nil {
		return err
	}
	v := uint64(uint32(low))
	switch {
	case name == unix.SO_LINGER:
		v |= uint64(binary.LittleEndian.Uint32(value[4:])) << 32
	case o.size == 8 && len(value) >= 8:
		v = binary.LittleEndian.Uint64(value)
	case o.size == 8 && low == -1:
		v = math.MaxUint64
	}
	p.mu.Lock()
	if p.set == nil {
		p.set = map[int32]uint64{}
	}
	p.set[name] = v
	p.mu.Unlock()
	return nil
}
