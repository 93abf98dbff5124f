package hostfs

import (
	"os"
	"testing"
)

func BenchmarkGlance(b *testing.B) {
	dir := b.TempDir()
	must(b, os.WriteFile(dir+"/f", []byte("x"), 0o644))
	n := open(b, dir, Options{}).root
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := n.Glance("f"); err != nil {
			b.Fatal(err)
		}
	}
}
