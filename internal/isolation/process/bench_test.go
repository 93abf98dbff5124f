package process

import (
	"testing"
)

// BenchmarkCreateStartDelete takes a container from nothing to nothing: create,
// start, the end of its program, destroy.
func BenchmarkCreateStartDelete(b *testing.B) {
	spec := bundle(b)
	for b.Loop() {
		c := prepare(b, spec)
		pid, err := New().Create(c.request)
		if err != nil {
			b.Fatal(err)
		}
		c.Init = pid
		if err := New().Start(c.Container); err != nil {
			b.Fatal(err)
		}
		waitFor(pid.PID)
		if err := New().Destroy(c.Container); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExec runs a program in a container.
func BenchmarkExec(b *testing.B) {
	c := create(b, shell(bundle(b), "cat"))
	c.start()
	for b.Loop() {
		if _, _, err := c.exec("/bin/true"); err != nil {
			b.Fatal(err)
		}
	}
}
