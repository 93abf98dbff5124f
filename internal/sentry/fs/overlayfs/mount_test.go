package overlayfs

import (
	"reflect"
	"strings"
	"sync"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

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

// guest is a Caller that mounts.
type guest struct {
	self
	ns *vfs.MountNamespace
}

func (g guest) Mounts() *vfs.MountNamespace { return g.ns }
func (g guest) PathOrigin() vfs.Origin      { return vfs.Origin{Root: g.ns.Root(), Start: g.ns.Root()} }

// stat reports whether a path leads anywhere.
func (g guest) there(t *testing.T, path string) bool {
	t.Helper()
	o := g.PathOrigin()
	defer o.Root.DecRef()
	defer o.Start.DecRef()
	p, err := g.ns.Resolve(g, o, path, 0)
	if err == nil {
		p.DecRef()
	} else if err != unix.ENOENT {
		t.Errorf("%s: %v", path, err)
	}
	return err == nil
}

func (g guest) do(t *testing.T, f func(o vfs.Origin) error) {
	t.Helper()
	o := g.PathOrigin()
	defer o.Root.DecRef()
	defer o.Start.DecRef()
	must(t, f(o))
}

// What an overlay makes and removes in its upper directory is seen there at once,
// however often the names are looked up meanwhile.
func TestUpperLayerIsCurrent(t *testing.T) {
	g := guest{self{auth.New(0, 0, nil)}, vfs.NewMountNamespace(tmpfs.New(tmpfs.Options{}), 0)}
	for _, d := range []string{"/low", "/low/d", "/up", "/work", "/m"} {
		g.do(t, func(o vfs.Origin) error { return g.ns.MkdirAt(g, o, d, 0o755) })
	}
	fs, err := mount(vfs.MountRequest{Caller: g, Data: "lowerdir=/low,upperdir=/up,workdir=/work"})
	must(t, err)
	g.do(t, func(o vfs.Origin) error {
		at, err := g.ns.Resolve(g, o, "/m", 0)
		if err == nil {
			defer at.DecRef()
			err = g.ns.Mount(fs, at, 0, "overlay")
		}
		return err
	})
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for range 2 {
		busy.Add(1)
		go func() {
			defer busy.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				g.there(t, "/up/f")
				g.there(t, "/up/d/f")
				g.there(t, "/up/moved")
			}
		}()
	}
	for range 200 {
		for _, dir := range []string{"", "/d"} {
			g.do(t, func(o vfs.Origin) error { return g.ns.MknodAt(g, o, "/m"+dir+"/f", unix.S_IFREG|0o644, 0, 0) })
			if !g.there(t, "/up"+dir+"/f") {
				t.Error("what was made is not in the upper directory")
			}
			g.do(t, func(o vfs.Origin) error { return g.ns.RenameAt(g, o, "/m"+dir+"/f", o, "/m/moved", 0) })
			if g.there(t, "/up"+dir+"/f") || !g.there(t, "/up/moved") {
				t.Error("what was moved is where it was in the upper directory")
			}
			g.do(t, func(o vfs.Origin) error { return g.ns.UnlinkAt(g, o, "/m/moved") })
			if g.there(t, "/up/moved") {
				t.Error("what was removed is in the upper directory")
			}
		}
	}
	close(stop)
	busy.Wait()
	g.ns.DecRef()
}
