package environ

import (
	"slices"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	home := func() string { return "/home/me" }
	for _, tt := range []struct {
		name     string
		in, want []string
	}{
		{"nothing", nil, []string{"HOME=/home/me"}},
		{"the last value, in the first's place", []string{"A=1", "B=2", "A=3"}, []string{"A=3", "B=2", "HOME=/home/me"}},
		{"a home", []string{"HOME=/x", "A=1"}, []string{"HOME=/x", "A=1"}},
		{"an empty home", []string{"HOME=", "A=1"}, []string{"A=1", "HOME=/home/me"}},
		{"no value", []string{"A", "B="}, []string{"A", "B=", "HOME=/home/me"}},
		{"a mere name", []string{"HOME"}, []string{"HOME"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Complete(tt.in, home); !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestHome(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\nbroken:x:5\nrel:x:6:6::home:/bin/sh\nuser:x:1000:1000::/home/user:\n"
	for _, tt := range []struct {
		uid  uint32
		want string
	}{{0, "/root"}, {5, "/"}, {6, "/"}, {1000, "/home/user"}, {7, "/"}} {
		if got := Home(strings.NewReader(passwd), tt.uid); got != tt.want {
			t.Errorf("the home directory of %d is %q, want %q", tt.uid, got, tt.want)
		}
	}
}

// FuzzHome: /etc/passwd is the container's.
func FuzzHome(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", uint32(0))
	f.Add("a:b:7:\n:::::::\n", uint32(7))
	f.Add("user:x:1000:1000::relative:/bin/sh\n", uint32(1000))
	f.Fuzz(func(t *testing.T, passwd string, uid uint32) {
		if h := Home(strings.NewReader(passwd), uid); !strings.HasPrefix(h, "/") || strings.ContainsAny(h, "\n:") {
			t.Errorf("the home directory is %q", h)
		}
	})
}

func TestSearchPath(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"A=b", "PATH=/x:/y", "PATHS=/z"}, "/x:/y"},
		{[]string{"PATH=/old", "PATH=/new"}, "/new"},
		{[]string{"PATH="}, ""},
		{[]string{"XPATH=/x"}, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	} {
		if got := SearchPath(c.env); got != c.want {
			t.Errorf("%q: %q, want %q", c.env, got, c.want)
		}
	}
}
