package procfs

import (
	gomaps "maps"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseTimeOffsets(t *testing.T) {
	const mono, boot = unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME
	for _, tt := range []struct {
		text string
		want map[int32]time.Duration
		err  error
	}{
		{"monotonic 5 0\n", map[int32]time.Duration{mono: 5 * time.Second}, nil},
		{"boottime -2 500000000\n", map[int32]time.Duration{boot: -1500 * time.Millisecond}, nil},
		{"1 1 2\n7\t3   4", map[int32]time.Duration{mono: time.Second + 2, boot: 3*time.Second + 4}, nil},
		{"monotonic 1 0\x00rest", map[int32]time.Duration{mono: time.Second}, nil},
		{"", nil, unix.EINVAL},
		{"\n", nil, unix.EINVAL},
		{"realtime 1 0\n", nil, unix.EINVAL},
		{"monotonic 1\n", nil, unix.EINVAL},
		{"monotonic 1 1 1\n", nil, unix.EINVAL},
		{"monotonic x 1\n", nil, unix.EINVAL},
		{"monotonic 1 -1\n", nil, unix.EINVAL},
		{"monotonic 1 1000000000\n", nil, unix.EINVAL},
		{"monotonic 1 0\nboottime 1 0\n7 1 0\n", nil, unix.EINVAL},
		{"monotonic 9223372036854775807 0\n", nil, unix.ERANGE},
		{"monotonic -9223372036854775808 0\n", nil, unix.ERANGE},
	} {
		got, err := parseTimeOffsets(tt.text)
		if err != tt.err || !gomaps.Equal(got, tt.want) {
			t.Errorf("%q: %v, %v; want %v, %v", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func FuzzTimeOffsets(f *testing.F) {
	f.Add("monotonic 86400 5\nboottime -604800 0\n")
	f.Add("1 1 2\n7\t3   4\x00")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseTimeOffsets(text)
		if err != nil && err != unix.EINVAL && err != unix.ERANGE || err == nil && (len(got) == 0 || len(got) > 2) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	})
}
