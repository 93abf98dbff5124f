package hostnet

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// TestRecords: a record is there as long as its owner lives, whatever is in its file.
func TestRecords(t *testing.T) {
	n := &Networks{Dir: t.TempDir()}
	lock := func() *state {
		t.Helper()
		s, err := n.lockState()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := lock()
	r := &record{Network: "lan", Container: "a", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}}
	file, err := s.claim(r)
	if err != nil {
		t.Fatal(err)
	}
	s.unlock()
	// What was killed while it wrote its record has made nothing.
	for name, data := range map[string]string{"half": `{"ID": "ha`, "empty": "", "stranger": `{"ID": "other"}`} {
		if err := os.WriteFile(filepath.Join(n.Dir, "attached", name+".json"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = lock()
	if len(s.live) != 1 || s.live[0].ID != r.ID || s.live[0].address(true).String() != "192.0.2.2" {
		t.Errorf("the living are %+v, want %+v", s.live, r)
	}
	s.unlock()
	if list := liveRecords(n.Dir); len(list) != 1 || list[0].Container != "a" {
		t.Errorf("the living are %+v without the lock", list)
	}
	file.Close()
	if list := liveRecords(n.Dir); len(list) != 0 {
		t.Errorf("the dead are taken to live: %+v", list)
	}
}

// TestOthersDirectory: who could write to the directory would have root run programs.
func TestOthersDirectory(t *testing.T) {
	n := &Networks{Dir: t.TempDir()}
	if err := os.Chmod(n.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if s, err := n.lockState(); err == nil {
		s.unlock()
		t.Error("a directory that everybody may write to is taken")
	}
}

// TestNamed makes, finds and removes networks.
func TestNamed(t *testing.T) {
	n := &Networks{Dir: t.TempDir()}
	a := &Network{Name: "a", Driver: DriverBridge}
	if err := n.Create(a); err != nil {
		t.Fatal(err)
	}
	found, err := n.Find("a")
	if err != nil || *found != *a || found.Gateway != a.Subnet.Addr().Next() || !found.Subnet6.Contains(found.Gateway6) {
		t.Errorf("found %+v, %v, want %+v", found, err, a)
	}
	b := &Network{Name: "b", Driver: DriverCNI, CNI: "x"}
	if err := n.Create(b); err != nil {
		t.Fatal(err)
	}
	if names, err := n.Names(); err != nil || len(names) != 2 {
		t.Errorf("names %q, %v", names, err)
	}
	if err := n.Create(&Network{Name: "a", Driver: DriverBridge}); err == nil {
		t.Error("two networks of one name")
	}
	if err := n.Remove("a"); err != nil {
		t.Error(err)
	}
	if _, err := n.Find("a"); err == nil {
		t.Error("a network that was removed is found")
	}
	if a.bridge() == b.bridge() || len(a.bridge()) > 15 {
		t.Errorf("bridges %s and %s", a.bridge(), b.bridge())
	}
}
