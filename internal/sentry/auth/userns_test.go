package auth

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inNew returns credentials of user id in a new user namespace.
func inNew(t *testing.T, c *Credentials) *Credentials {
	t.Helper()
	ns, err := c.NewUserNamespace(1)
	if err != nil {
		t.Fatal(err)
	}
	n := c.Clone()
	n.EnterNew(ns)
	return n
}

func TestMaps(t *testing.T) {
	parent := New(1000, 1000, nil)
	root := New(0, 0, nil)
	tests := []struct {
		name   string
		kind   IDKind
		deny   bool
		writer *Credentials // nil: a process in the namespace
		data   string
		want   error
	}{
		{"own ID", UserID, false, nil, "0 1000 1\n", nil},
		{"without a newline", UserID, false, nil, "0 1000 1", nil},
		{"as a C string", UserID, false, nil, "0 1000 1\n\x00", nil},
		{"another ID", UserID, false, nil, "0 1001 1\n", unix.EPERM},
		{"two IDs", UserID, false, nil, "0 1000 2\n", unix.EPERM},
		{"group while setgroups works", GroupID, false, nil, "0 1000 1\n", unix.EPERM},
		{"group once it does not", GroupID, true, nil, "0 1000 1\n", nil},
		{"by the parent's root", UserID, false, root, "0 1000 1\n1 100000 65536\n", nil},
		{"overlap inside", UserID, false, root, "0 1000 10\n5 5000 10\n", unix.EINVAL},
		{"overlap outside", UserID, false, root, "0 1000 10\n50 1005 10\n", unix.EINVAL},
		{"wraps", UserID, false, root, "4294967290 0 10\n", unix.EINVAL},
		{"nothing", UserID, false, root, "0 0 0\n", unix.EINVAL},
		{"too few numbers", UserID, false, root, "0 0\n", unix.EINVAL},
		{"words", UserID, false, root, "a b c\n", unix.EINVAL},
		{"too many lines", UserID, false, root, lines(maxExtents + 1), unix.EINVAL},
		{"as many as there may be", UserID, false, root, lines(maxExtents), nil},
	}
	for _, tt := range tests {
		c := inNew(t, parent)
		if tt.deny {
			if err := c.UserNS.DenyGroups(); err != nil {
				t.Fatal(err)
			}
		}
		w := tt.writer
		if w == nil {
			w = c
		}
		if err := c.UserNS.SetMap(tt.kind, w, w, tt.data); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if tt.want == nil {
			if err := c.UserNS.SetMap(tt.kind, w, w, tt.data); err != unix.EPERM {
				t.Errorf("%s, again: %v", tt.name, err)
			}
		}
	}
}

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d %d 1\n", 2*i, 3*i)
	}
	return b.String()
}

func TestTranslate(t *testing.T) {
	c := inNew(t, New(0, 0, nil))
	root := New(0, 0, nil)
	if err := c.UserNS.SetMap(UserID, root, root, "0 1000 1\n10 2000 5\n"); err != nil {
		t.Fatal(err)
	}
	inner := c.Clone()
	inner.EUID = 2002
	deeper := &UserNamespace{parent: c.UserNS, level: 2, owner: 2002}
	inner.EnterNew(deeper)
	deeper.maps[GroupID].Store(&IDMap{})
	if err := deeper.SetMap(UserID, c, c, "7 12 1\n"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ns     *UserNamespace
		id, up uint32
	}{
		{Initial, 2002, 2002}, {c.UserNS, 1000, 0}, {c.UserNS, 2004, 14}, {c.UserNS, 2005, OverflowID}, {c.UserNS, 0, OverflowID},
		{deeper, 2002, 7}, {deeper, 1000, OverflowID},
	} {
		if got := tt.ns.FromUID(tt.id); got != tt.up {
			t.Errorf("%d is shown as %d, want %d", tt.id, got, tt.up)
		}
		if tt.up != OverflowID && tt.ns.ToUID(tt.up) != tt.id {
			t.Errorf("%d stands for %d, want %d", tt.up, tt.ns.ToUID(tt.up), tt.id)
		}
	}
	if got := c.UserNS.ToUID(9); got != NoID {
		t.Errorf("an ID without a mapping stands for %d", got)
	}
	if got := string(deeper.AppendMap(nil, UserID, deeper)); got != "         7         12          1\n" {
		t.Errorf("map %q", got)
	}
	if got := string(deeper.AppendMap(nil, UserID, Initial)); got != "         7       2002          1\n" {
		t.Errorf("map from outside %q", got)
	}
}

func TestCapabilitiesAcrossNamespaces(t *testing.T) {
	root, alice, bob := New(0, 0, nil), New(1000, 1000, nil), New(1001, 1001, nil)
	in := inNew(t, alice)
	inner := inNew(t, func() *Credentials { // a grandchild, made by the mapped root of in
		if err := in.UserNS.DenyGroups(); err != nil {
			t.Fatal(err)
		}
		for _, k := range []IDKind{UserID, GroupID} {
			if err := in.UserNS.SetMap(k, in, in, "0 1000 1\n"); err != nil {
				t.Fatal(err)
			}
		}
		return in
	}())
	for _, tt := range []struct {
		name string
		c    *Credentials
		ns   *UserNamespace
		want bool
	}{
		{"root in the first", root, Initial, true},
		{"root in a child", root, in.UserNS, true},
		{"root in a grandchild", root, inner.UserNS, true},
		{"the creator in the child", alice, in.UserNS, true},
		{"the creator in a grandchild", alice, inner.UserNS, true},
		{"another user", bob, in.UserNS, false},
		{"from inside", in, in.UserNS, true},
		{"from inside upwards", in, Initial, false},
		{"from a grandchild upwards", inner, in.UserNS, false},
		{"the creator in his own", alice, Initial, false},
	} {
		if got := tt.c.CanIn(tt.ns, unix.CAP_SYS_ADMIN); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if in.Can(unix.CAP_SYS_ADMIN) || !in.CanOver(unix.CAP_CHOWN, 1000, 1000) || in.CanOver(unix.CAP_CHOWN, 1000, 0) {
		t.Error("the root of a user namespace has the wrong capabilities over inodes")
	}
}

func FuzzIDMap(f *testing.F) {
	for _, s := range []string{"0 1000 1\n", "0 0 4294967295", "1 2 3\n4 5 6\n", "\n", "0 0 1 \t\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseIDMap(s)
		if err != nil {
			return
		}
		for i, a := range list {
			if a.count == 0 || a.first+a.count < a.first || a.lower+a.count < a.lower {
				t.Fatalf("%+v", a)
			}
			for _, b := range list[:i] {
				if a.first < b.first+b.count && b.first < a.first+a.count || a.lower < b.lower+b.count && b.lower < a.lower+a.count {
					t.Fatalf("%+v and %+v overlap", a, b)
				}
			}
		}
	})
}
