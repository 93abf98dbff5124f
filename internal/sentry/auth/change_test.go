package auth

import (
	"testing"

	"golang.org/x/sys/unix"
)

func user(r, e, s uint32) *Credentials {
	c := New(1000, 1000, nil)
	c.RUID, c.EUID, c.SUID, c.FSUID = r, e, s, e
	return c
}

func TestSetIDs(t *testing.T) {
	const no = NoID
	tests := []struct {
		name  string
		start *Credentials
		do    func(*Credentials) error
		err   error
		r, e  uint32
		s, fs uint32
	}{
		{"setuid of root", New(0, 0, nil), func(c *Credentials) error { return c.SetUID(5) }, nil, 5, 5, 5, 5},
		{"setuid to saved", user(1, 2, 3), func(c *Credentials) error { return c.SetUID(3) }, nil, 1, 3, 3, 3},
		{"setuid to effective", user(1, 2, 3), func(c *Credentials) error { return c.SetUID(2) }, unix.EPERM, 1, 2, 3, 2},
		{"setuid -1", New(0, 0, nil), func(c *Credentials) error { return c.SetUID(no) }, unix.EINVAL, 0, 0, 0, 0},
		{"setreuid swaps", user(1, 2, 3), func(c *Credentials) error { return c.SetREUID(2, 1) }, nil, 2, 1, 1, 1},
		{"setreuid to saved", user(1, 2, 3), func(c *Credentials) error { return c.SetREUID(no, 3) }, nil, 1, 3, 3, 3},
		{"setreuid real to saved", user(1, 2, 3), func(c *Credentials) error { return c.SetREUID(3, no) }, unix.EPERM, 1, 2, 3, 2},
		{"setreuid effective to real", user(1, 2, 3), func(c *Credentials) error { return c.SetREUID(no, 1) }, nil, 1, 1, 3, 1},
		{"setresuid permutes", user(1, 2, 3), func(c *Credentials) error { return c.SetRESUID(3, 1, 2) }, nil, 3, 1, 2, 1},
		{"setresuid leaves", user(1, 2, 3), func(c *Credentials) error { return c.SetRESUID(no, no, 1) }, nil, 1, 2, 1, 2},
		{"setresuid to another", user(1, 2, 3), func(c *Credentials) error { return c.SetRESUID(no, no, 9) }, unix.EPERM, 1, 2, 3, 2},
		{"setfsuid to saved", user(1, 2, 3), func(c *Credentials) error { return c.SetFSUID(3) }, nil, 1, 2, 3, 3},
		{"setfsuid to another", user(1, 2, 3), func(c *Credentials) error { return c.SetFSUID(9) }, unix.EPERM, 1, 2, 3, 2},
	}
	for _, tt := range tests {
		c := tt.start.Clone()
		if err := tt.do(c); err != tt.err {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
		if c.RUID != tt.r || c.EUID != tt.e || c.SUID != tt.s || c.FSUID != tt.fs {
			t.Errorf("%s: IDs %d %d %d %d, want %d %d %d %d", tt.name, c.RUID, c.EUID, c.SUID, c.FSUID, tt.r, tt.e, tt.s, tt.fs)
		}
	}
}

func TestCapabilitiesFollowIDs(t *testing.T) {
	tests := []struct {
		name                 string
		do                   func(*Credentials) error
		permitted, effective CapSet
	}{
		{"all IDs leave root", func(c *Credentials) error { return c.SetUID(5) }, 0, 0},
		{"only the effective does", func(c *Credentials) error { return c.SetRESUID(NoID, 5, NoID) }, AllCaps, 0},
		{"and comes back", func(c *Credentials) error {
			if err := c.SetRESUID(NoID, 5, NoID); err != nil {
				return err
			}
			return c.SetRESUID(NoID, 0, NoID)
		}, AllCaps, AllCaps},
		{"keepcaps", func(c *Credentials) error {
			c.SetKeepCaps(true)
			return c.SetUID(5)
		}, AllCaps, 0},
		{"no fixup", func(c *Credentials) error {
			c.SetSecureBits(SecNoSetuidFixup)
			return c.SetUID(5)
		}, AllCaps, AllCaps},
		{"file system ID", func(c *Credentials) error { return c.SetFSUID(5) }, AllCaps, AllCaps &^ fsCaps},
	}
	for _, tt := range tests {
		c := New(0, 0, nil)
		if err := tt.do(c); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if c.Permitted != tt.permitted || c.Effective != tt.effective {
			t.Errorf("%s: permitted %#x effective %#x, want %#x %#x", tt.name, c.Permitted, c.Effective, tt.permitted, tt.effective)
		}
	}
}

func TestSetCaps(t *testing.T) {
	const a, b, x = CapSet(1), CapSet(2), CapSet(4)
	tests := []struct {
		name    string
		e, p, i CapSet
		want    error
	}{
		{"drop", a, a, 0, nil},
		{"effective beyond permitted", a | b, a, 0, unix.EPERM},
		{"permitted grows", 0, a | b | x, 0, unix.EPERM},
		{"inheritable from permitted", 0, a, b, nil},
		{"inheritable beyond permitted", 0, a, x, unix.EPERM},
	}
	for _, tt := range tests {
		c := New(1000, 1000, nil)
		c.Permitted = a | b
		if err := c.SetCaps(tt.e, tt.p, tt.i); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestSecureBits(t *testing.T) {
	c := New(0, 0, nil)
	if err := c.SetSecureBits(SecNoRoot | SecNoRoot<<1); err != nil {
		t.Fatal(err)
	}
	for _, bits := range []uint32{0, SecNoRoot, SecNoRoot << 1, 1 << 20} {
		if err := c.SetSecureBits(bits); err != unix.EPERM {
			t.Errorf("%#x: %v, want EPERM", bits, err)
		}
	}
	c.Effective = 0
	if err := c.SetSecureBits(c.SecureBits); err != unix.EPERM {
		t.Errorf("without CAP_SETPCAP: %v", err)
	}
}
