package hostnet

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What is attached to the host's networks is on record in files of Networks.Dir, each
// of which its owner keeps locked (flock(2)) as long as it lives: so that the lock is
// free says that the owner is dead, however that came, and that what it has made is
// to be removed. Whatever is done to bridges, addresses and rules is done under the
// lock of the directory.
//
// The directory:
//
//	lock              the lock
//	NAME.json         a named network
//	attached/ID.json  what is attached, a record
//	forwarding.json   where Coffer has switched forwarding on

// record is an attachment: all that is needed to remove it.
type record struct {
	ID string
	// Host is the network namespace that the attachment is made in.
	Host hostID
	// Network is the name of the network, Container what the sandbox is called there.
	Network, Container string
	// Bridge and Veth are interfaces of the host's; Hardware is the address of the
	// sandbox's end.
	Bridge, Veth string
	Hardware     string
	// Addresses are the sandbox's, with the lengths of the networks' prefixes, and
	// Gateways those of the bridge on the same networks.
	Addresses []netip.Prefix
	Gateways  []netip.Addr
	Publish   []Publish
	// Resolver is the port on the bridge at which the owner answers names.
	Resolver uint16
	// Filter is what the host's rules hold the sandbox to.
	Filter filter
	// CNI says how plug-ins were called.
	CNI *cniCall `json:",omitempty"`
}

// address returns the sandbox's address of a family; invalid if it has none.
func (r *record) address(v4 bool) netip.Addr {
	for _, p := range r.Addresses {
		if p.Addr().Is4() == v4 {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// hostID tells network namespaces apart, also those of other times.
type hostID struct {
	Boot   string
	Cookie uint64
}

// thisHost returns the caller's.
func thisHost() (hostID, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return hostID{}, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return hostID{}, err
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return hostID{}, fmt.Errorf("asking which network namespace this is (Linux 5.14 or later tells): %w", err)
	}
	return hostID{strings.TrimSpace(string(boot)), cookie}, nil
}

// state is the directory under its lock.
type state struct {
	dir  string
	host hostID
	lock *os.File
	// live are the records whose owners live, in whatever namespace.
	live []*record
}

// maxRecord bounds what is read of a file, in bytes.
const maxRecord = 1 << 20

// rootOnly says what to do where others than root may not look.
func rootOnly(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: networks with bridges are for root alone: run coffer as root, or use --network user", err)
	}
	return err
}

// lockState locks the directory, removes what dead owners have left, and reads the
// records of the others.
func (n *Networks) lockState() (_ *state, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the directory of networks %s: %w", n.Dir, rootOnly(err))
		}
	}()
	s := &state{dir: n.Dir}
	if s.host, err = thisHost(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.path("attached"), 0o700); err != nil {
		return nil, err
	}
	if err := checkOwner(n.Dir); err != nil {
		return nil, err
	}
	if s.lock, err = os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := flock(s.lock, unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	if err := s.read(n); err != nil {
		s.unlock()
		return nil, err
	}
	return s, nil
}

// checkOwner refuses a directory that others can write to: they would have this process
// remove what is not theirs, and run what they name as plug-ins.
func checkOwner(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("it belongs to user %d with mode %#o, and must be this user's (%d) and written by nobody else", st.Uid, st.Mode&0o7777, os.Geteuid())
	}
	return nil
}

func (s *state) unlock() { s.lock.Close() }

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

func (s *state) recordPath(id string) string { return s.path("attached/" + id + ".json") }

// read reads the records, and removes those of the dead.
func (s *state) read(n *Networks) error {
	entries, err := os.ReadDir(s.path("attached"))
	if err != nil {
		return err
	}
	removed := false
	for _, e := range entries {
		r, dead, err := readRecord(s.path("attached/" + e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case dead == nil:
			s.live = append(s.live, r)
			continue
		}
		if err := s.remove(n, r); err != nil {
			slog.Warn(fmt.Sprintf("what is left of the sandbox %s on network %s cannot be removed: %v; the next command tries again, until it can be or %s is gone", r.Container, r.Network, err, s.recordPath(r.ID)))
		}
		dead.Close()
		removed = true
	}
	if !removed {
		return nil
	}
	return s.settle()
}

// readRecord reads a record. The file is returned, locked, if its owner is dead.
func readRecord(path string) (*record, *os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	alive := errors.Is(err, unix.EWOULDBLOCK)
	if err != nil && !alive {
		f.Close()
		return nil, nil, err
	}
	r := new(record)
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err == nil && r.ID+".json" != filepath.Base(path) {
		err = errors.New("it is another one's")
	}
	switch {
	case err != nil && !alive:
		// It was killed before it had made anything: there is no half of a file.
		err = errors.Join(os.Remove(path), fs.ErrNotExist)
	case err != nil:
		err = fmt.Errorf("the record %s: %w", path, err)
	}
	if err != nil || alive {
		f.Close()
		return r, nil, err
	}
	return r, f, nil
}

// liveRecords reads the records of living owners without the lock: of a name that is
// just being attached or removed both answers are right.
func liveRecords(dir string) (list []*record) {
	entries, err := os.ReadDir(filepath.Join(dir, "attached"))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, "attached", e.Name()))
		if err != nil {
			continue
		}
		r := new(record)
		alive := errors.Is(flock(f, unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
		if data, err := io.ReadAll(io.LimitReader(f, maxRecord)); alive && err == nil && json.Unmarshal(data, r) == nil {
			list = append(list, r)
		}
		f.Close()
	}
	return list
}

// vethPrefix begins the names of the host's ends of sandboxes' interfaces.
const vethPrefix = "cfv"

// claim puts a new attachment on record. The file is the claim: closing it gives it up.
func (s *state) claim(r *record) (*os.File, error) {
	var id [4]byte
	rand.Read(id[:])
	r.ID, r.Host = hex.EncodeToString(id[:]), s.host
	r.Veth = vethPrefix + r.ID
	f, err := os.OpenFile(s.recordPath(r.ID), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = flock(f, unix.LOCK_EX)
	if err == nil {
		err = s.save(r, f)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()), f.Close())
	}
	s.live = append(s.live, r)
	return f, nil
}

// save writes a record to its own file, which keeps its lock. Who reads half of it
// finds that it is none.
func (s *state) save(r *record, f *os.File) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(data)))
}

// release removes an attachment of a living owner.
func (s *state) release(n *Networks, r *record) error {
	if err := s.remove(n, r); err != nil {
		return err
	}
	s.live = slices.DeleteFunc(s.live, func(l *record) bool { return l.ID == r.ID })
	return s.settle()
}

// here are the live records of this network namespace.
func (s *state) here() []*record {
	return slices.DeleteFunc(slices.Clone(s.live), func(r *record) bool { return r.Host != s.host || r.Bridge == "" })
}

// writeJSON writes a file as a whole or not at all.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readJSON reads a file that writeJSON wrote.
func readJSON(path string, value any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// flock locks a file, and waits for it through signals.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}
