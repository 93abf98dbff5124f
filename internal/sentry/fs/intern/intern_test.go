package intern

import (
	"runtime"
	"sync"
	"testing"
)

type object struct{ pad [4]uint64 }

func TestOneObject(t *testing.T) {
	var tab Table[int, object]
	if tab.Find(1) != nil {
		t.Fatal("an empty table has an object")
	}
	a := tab.Get(1, func() *object { return new(object) })
	b := tab.Get(1, func() *object { t.Error("made twice"); return new(object) })
	tab.Put(2, a)
	if a != b || tab.Find(1) != a || tab.Find(2) != a || tab.Find(3) != nil {
		t.Errorf("%p %p %p %p %p", a, b, tab.Find(1), tab.Find(2), tab.Find(3))
	}
	c := new(object)
	tab.Put(1, c)
	if tab.Find(1) != c {
		t.Error("the first object stayed")
	}
	runtime.KeepAlive(a)
}

// TestForgets puts many objects in, of which few live.
func TestForgets(t *testing.T) {
	var tab Table[int, object]
	kept := map[int]*object{}
	for i := range 100 * minimum {
		o := tab.Get(i, func() *object { return new(object) })
		if i%1000 == 0 {
			kept[i] = o
		}
		if i%minimum == 0 {
			runtime.GC()
		}
	}
	if n := len(tab.m); n > 4*minimum {
		t.Errorf("%d entries for %d objects", n, len(kept))
	}
	for i, o := range kept {
		if tab.Find(i) != o {
			t.Errorf("object %d is lost", i)
		}
	}
	runtime.GC()
	if tab.Find(1) != nil {
		t.Error("an object that nobody has is found")
	}
	runtime.KeepAlive(kept)
}

func TestConcurrent(t *testing.T) {
	var tab Table[int, object]
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 20 * minimum {
				o := tab.Get(i, func() *object { return new(object) })
				if tab.Find(i) != o {
					t.Error("another object")
					return
				}
				runtime.KeepAlive(o)
			}
		})
	}
	wg.Wait()
}

func BenchmarkGet(b *testing.B) {
	var tab Table[int, object]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tab.Get(i, func() *object { return new(object) })
	}
}
