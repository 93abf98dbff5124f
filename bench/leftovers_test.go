package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLeftovers: what a run that is over has left goes, and nothing else.
func TestLeftovers(t *testing.T) {
	parent := t.TempDir()
	run := func(name string, owned bool) (dir string, owner *os.File) {
		dir = filepath.Join(parent, name)
		if err := os.MkdirAll(filepath.Join(dir, "scratch"), 0o755); err != nil {
			t.Fatal(err)
		}
		if owned {
			var err error
			if owner, err = own(dir); err != nil {
				t.Fatal(err)
			}
		}
		return dir, owner
	}
	over, owner := run(tempPrefix+"over", true)
	owner.Close()
	lives, owner := run(tempPrefix+"lives", true)
	defer owner.Close()
	begins, _ := run(tempPrefix+"begins", false)
	other, otherOwner := run("other", true)
	otherOwner.Close()
	link := filepath.Join(parent, tempPrefix+"link")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	if err := removeLeftovers(parent); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{lives, begins, other, link} {
		if !exists(dir) {
			t.Errorf("%s is gone", dir)
		}
	}
	if exists(over) {
		t.Errorf("%s is still there", over)
	}
	if os.Geteuid() != 0 {
		return
	}
	// What is mounted in it is not removed.
	mounted, owner := run(tempPrefix+"mounted", true)
	owner.Close()
	at := filepath.Join(mounted, "scratch")
	if err := unix.Mount(other, at, "", unix.MS_BIND, ""); err != nil {
		t.Skip(err)
	}
	err := removeLeftovers(parent)
	if unmountErr := unix.Unmount(at, 0); unmountErr != nil {
		t.Fatal(unmountErr)
	}
	if err == nil || !exists(filepath.Join(other, ownerFile)) || !exists(mounted) {
		t.Errorf("with something mounted there: %v", err)
	}
}

// TestLeftCgroups: the cgroups that a run has noted go with it, where they are empty and of a run's name.
func TestLeftCgroups(t *testing.T) {
	m := newMeter()
	if m.dir == "" {
		t.Skip("no cgroup can be made here")
	}
	defer m.close()
	left, kept := filepath.Join(m.dir, tempPrefix+"left"), filepath.Join(m.dir, "kept")
	for _, dir := range []string{left, filepath.Join(left, "within"), kept} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Remove(kept)
	parent := t.TempDir()
	dir := filepath.Join(parent, tempPrefix+"1")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	owner, err := own(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.WriteString(left + "\n" + kept); err != nil {
		t.Fatal(err)
	}
	owner.Close()
	if err := removeLeftovers(parent); err != nil {
		t.Fatal(err)
	}
	if exists(left) || exists(dir) {
		t.Error("they are still there")
	}
	if !exists(kept) {
		t.Error("one of another name is gone")
	}
	if err := removeCgroup(m.dir); err != nil || !exists(m.dir) {
		t.Errorf("one with a process: %v", err)
	}
}
