package network

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A group that was joined while the interface was down counts once it is up, and until the last
// who joined it has left.
func TestGroups(t *testing.T) {
	n := Empty()
	group := netip.MustParseAddr("239.1.1.1")
	in := func() bool {
		is, err := n.Stack().IsInGroup(LoopbackIndex, toStack(group))
		return err == nil && is
	}
	for range 2 {
		if err := n.JoinGroup(LoopbackIndex, group); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.JoinGroup(77, group); err != unix.ENODEV {
		t.Errorf("joining on an interface that is not there: %v", err)
	}
	if len(n.Groups()) != 0 {
		t.Error("an interface that is down shows groups")
	}
	for _, up := range []bool{true, false, true} {
		n.SetUp(LoopbackIndex, up)
	}
	if list := n.Groups(); len(list) != 3 || list[1] != (GroupInfo{LoopbackIndex, "lo", group, 2}) || !in() {
		t.Errorf("it is in %+v", list)
	}
	n.LeaveGroup(LoopbackIndex, group)
	if !in() {
		t.Error("the first who leaves takes the others with it")
	}
	n.LeaveGroup(LoopbackIndex, group)
	n.LeaveGroup(LoopbackIndex, group) // once too often
	if in() || len(n.Groups()) != 2 {
		t.Errorf("the group stays: %+v", n.Groups())
	}
}
