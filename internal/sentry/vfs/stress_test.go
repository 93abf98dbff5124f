package vfs_test

import (
	"math/rand"
	"sync"
	"testing"

	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// TestStress runs everything against everything, to be watched by the race
// detector, and checks that all references are given back.
func TestStress(t *testing.T) {
	before := len(vfs.Supers())
	w := newWorld(t)
	w.mkdir("/m", "/d")
	w.mount("/m", 0)
	names := []string{"/m/a", "/m/b", "/m/a/x", "/m/b/y", "/d/z", "/m/l/x", "/m/../d/z", "/m/a/../b/./y"}
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewSource(int64(g)))
			var held []vfs.Path
			for range 2500 {
				p, q := names[r.Intn(len(names))], names[r.Intn(len(names))]
				switch r.Intn(14) {
				case 0:
					w.ns.MkdirAt(root, w.at, p, 0o777)
				case 1:
					w.ns.RmdirAt(root, w.at, p)
				case 2:
					w.ns.UnlinkAt(root, w.at, p)
				case 3:
					w.ns.RenameAt(root, w.at, p, w.at, q, uint32(r.Intn(3)))
				case 4:
					w.ns.SymlinkAt(root, "a/../b", w.at, "/m/l")
				case 5:
					if o, err := w.ns.Resolve(root, w.at, p, 0); err == nil {
						w.ns.LinkAt(root, o, w.at, q)
						o.DecRef()
					}
				case 6:
					if at, err := w.ns.Resolve(root, w.at, p, 0); err == nil {
						w.ns.Mount(tmpfs.New(tmpfs.Options{}), at, 0, "none")
						at.DecRef()
					}
				case 7:
					if at, err := w.ns.Resolve(root, w.at, p, 0); err == nil {
						w.ns.Unmount(at, unix.MNT_DETACH)
						at.DecRef()
					}
				case 8:
					from, err := w.ns.Resolve(root, w.at, p, 0)
					if err != nil {
						break
					}
					if at, err := w.ns.Resolve(root, w.at, q, 0); err == nil {
						if r.Intn(2) == 0 {
							w.ns.Bind(from, at, unix.MS_REC)
						} else {
							w.ns.Move(from, at)
						}
						at.DecRef()
					}
					from.DecRef()
				case 9:
					w.ns.Mounts(w.at.Root)
				default:
					d, err := w.ns.OpenAt(root, w.at, p, vfs.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: 0o600})
					if err != nil {
						break
					}
					d.Write(root, []byte("x"))
					w.ns.PathName(w.at.Root, d.Path)
					if r.Intn(4) == 0 {
						d.Path.IncRef()
						held = append(held, d.Path)
					}
					d.DecRef()
				}
				if len(held) > 8 {
					held[0].DecRef()
					held = held[1:]
				}
			}
			for _, p := range held {
				p.DecRef()
			}
		}()
	}
	wg.Wait()
	// A bound directory may have been moved away with a mount on it, so some
	// mounts may be out of reach; but all must be counted.
	if counted, there := vfs.MountCount(w.ns); counted != there {
		t.Errorf("%d mounts are counted, %d are there", counted, there)
	}
	w.ns.DecRef()
	w.at.Root.DecRef()
	if n := len(vfs.Supers()) - before; n != 0 {
		t.Errorf("%d file systems are still in use", n)
	}
}
