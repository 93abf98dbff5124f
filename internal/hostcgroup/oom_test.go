package hostcgroup

import (
	"context"
	"fmt"
	"testing"

	"github.com/opencontainers/cgroups"
)

func TestOutOfMemory(t *testing.T) {
	c := create(t, resources(16<<20, 0))
	if !cgroups.PathExists(c.Path("memory")) {
		t.Skip("no memory controller")
	}
	m := start(t, "eat")
	if err := c.Add(m.Process.Pid, ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	happened, err := c.WatchOOM(ctx)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(m.in, "go")
	if _, ok := <-happened; !ok {
		t.Error("the watch has ended")
	}
	if !m.killed() {
		t.Errorf("the member was not killed: %v", m.ProcessState)
	}
	if err := c.Destroy(); err != nil {
		t.Fatal(err)
	}
	for range happened {
	}
}

func TestOutOfMemoryIsWatchedUntilTold(t *testing.T) {
	c := create(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	happened, err := c.WatchOOM(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, ok := <-happened; ok {
		t.Error("lack of memory where there was none")
	}
}
