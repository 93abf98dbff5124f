package overlayfs

import (
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseOptions(t *testing.T) {
	for _, tt := range []struct {
		data string
		want options
		err  error
	}{
		{"lowerdir=a:b,upperdir=u,workdir=w", options{lowers: []string{"a", "b"}, upper: "u", work: "w"}, nil},
		{"lowerdir=a:b", options{lowers: []string{"a", "b"}}, nil},
		{"lowerdir+=a,lowerdir+=b:c", options{lowers: []string{"a", "b:c"}}, nil},
		{`lowerdir=a\:b:c\\d,upperdir=u\,v,workdir=w,userxattr`, options{lowers: []string{"a:b", `c\d`}, upper: "u,v", work: "w", user: true}, nil},
		{"lowerdir=a,upperdir=u,workdir=w,index=off,redirect_dir=off,xino=on,volatile,", options{lowers: []string{"a"}, upper: "u", work: "w"}, nil},
		{"lowerdir=a:b,redirect_dir=on", options{}, unix.EINVAL},
		{"lowerdir=a:b,metacopy=on", options{}, unix.EINVAL},
		{"lowerdir=a:b,nonsense", options{}, unix.EINVAL},
		{"lowerdir=a", options{}, unix.EINVAL},
		{"lowerdir=a::b", options{}, unix.EINVAL},
		{"upperdir=u,workdir=w", options{}, unix.EINVAL},
		{"lowerdir=a,upperdir=u", options{}, unix.EINVAL},
		{"lowerdir=" + strings.Repeat("a:", lowersMax) + "b", options{}, unix.EINVAL},
		{"", options{}, unix.EINVAL},
	} {
		got, err := parseOptions(tt.data)
		if err != tt.err || err == nil && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%.60q: %+v, %v; want %+v, %v", tt.data, got, err, tt.want, tt.err)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add(`lowerdir=a\:b:c,upperdir=u\,v,workdir=w,userxattr`)
	f.Fuzz(func(t *testing.T, data string) {
		o, err := parseOptions(data)
		if err != nil {
			return
		}
		if len(o.lowers) == 0 || len(o.lowers) > lowersMax || o.upper != "" && o.work == "" {
			t.Errorf("%q: %+v", data, o)
		}
	})
}
