package linuxname

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCapabilities(t *testing.T) {
	for name, want := range map[string]int{"CAP_CHOWN": unix.CAP_CHOWN, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN,
		"CAP_SETFCAP": unix.CAP_SETFCAP, "CAP_CHECKPOINT_RESTORE": unix.CAP_LAST_CAP} {
		if got, ok := Capability(name); got != want || !ok {
			t.Errorf("%s: %d, %t, not %d", name, got, ok, want)
		}
	}
	set, unknown := CapabilitySet([]string{"CAP_CHOWN", "CAP_FLY", "CAP_KILL", "chown"})
	if set != 1<<unix.CAP_CHOWN|1<<unix.CAP_KILL || !slices.Equal(unknown, []string{"CAP_FLY", "chown"}) {
		t.Errorf("%#x, %q", set, unknown)
	}
}

func TestIOPriority(t *testing.T) {
	if n, err := IOPriority("IOPRIO_CLASS_BE", 4); n != 2<<13|4 || err != nil {
		t.Errorf("%#x, %v", n, err)
	}
	for _, p := range []int{-1, 8} {
		if _, err := IOPriority("IOPRIO_CLASS_BE", p); err == nil {
			t.Errorf("priority %d is one", p)
		}
	}
	if _, err := IOPriority("BE", 0); err == nil {
		t.Error("BE is a class")
	}
}

func TestCPUSet(t *testing.T) {
	for list, want := range map[string][]uint64{
		"0": {1}, "0-3,7": {0x8f}, " 1, 64": {2, 1}, "63-64": {1 << 63, 1},
	} {
		if got, err := CPUSet(list); !slices.Equal(got, want) || err != nil {
			t.Errorf("%q: %#x, %v", list, got, err)
		}
	}
	for _, list := range []string{"", ",", "a", "3-1", "-1", "1-", "8192", "99999999999999999999", "1,,2"} {
		if set, err := CPUSet(list); err == nil {
			t.Errorf("%q: %#x", list, set)
		}
	}
}

func FuzzCPUSet(f *testing.F) {
	f.Add("0-3,7")
	f.Fuzz(func(t *testing.T, list string) {
		if set, err := CPUSet(list); err == nil && (len(set) == 0 || len(set) > cpusMax/64) {
			t.Errorf("%q: %d words", list, len(set))
		}
	})
}
