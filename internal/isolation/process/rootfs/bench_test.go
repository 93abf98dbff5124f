package rootfs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkPrepare makes and enters the root file system of a usual spec, in
// a new mount namespace each time, which is not counted.
func BenchmarkPrepare(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("making mounts needs root")
	}
	bundle := b.TempDir()
	makeDirs(b, bundle+"/rootfs")
	spec := defaultPaths(newSpec(defaultMounts()...))
	b.StopTimer()
	for range b.N {
		inNewMounts(b, func() {
			if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
				b.Error(err)
				return
			}
			b.StartTimer()
			r, err := Prepare(&Config{Spec: spec, Bundle: bundle})
			if err == nil {
				err = r.Enter()
			}
			if err == nil {
				err = r.Finish()
			}
			b.StopTimer()
			if err != nil {
				b.Error(err)
				return
			}
			r.Close()
		})
	}
}
