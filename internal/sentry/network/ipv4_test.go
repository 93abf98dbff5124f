package network

import "testing"

func TestSourceRoutesAreFound(t *testing.T) {
	for _, c := range []struct {
		options []byte
		want    bool
	}{
		{nil, false},
		{[]byte{131, 7, 4, 1, 2, 3, 4, 0}, true},
		{[]byte{1, 137, 7, 4, 1, 2, 3, 4}, true},
		{[]byte{7, 7, 4, 131, 131, 131, 131, 0}, false},
		{[]byte{7, 7, 4, 0, 0, 0, 0, 131}, true},
		{[]byte{0, 131, 7, 4}, false},
		{[]byte{7, 9, 4, 131}, false},
		{[]byte{7, 1, 131, 3}, false},
		{[]byte{1, 1, 1, 7}, false},
	} {
		if got := hasSourceRoute(c.options); got != c.want {
			t.Errorf("hasSourceRoute(% x) = %v", c.options, got)
		}
	}
}
