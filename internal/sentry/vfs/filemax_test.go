package vfs

import (
	"testing"

	"golang.org/x/sys/unix"
)

type emptyFile struct{ NoFile }

func (emptyFile) Release() {}

func TestMaxFiles(t *testing.T) {
	newFile := func() *FileDescription { return NewDescription(emptyFile{}, nil, Path{}, 0) }
	table := NewFDTable()
	install := func(d *FileDescription) error {
		_, err := table.Install(d, 0, 100, false)
		return err
	}
	before, _ := OpenFiles()
	defer SetMaxFiles(maxFiles.Load())
	SetMaxFiles(before + 2)
	a, b, c := newFile(), newFile(), newFile()
	if n, most := OpenFiles(); n != before+3 || most != before+2 {
		t.Errorf("%d files of %d are open", n-before, most-before)
	}
	if err := install(a); err != unix.ENFILE {
		t.Errorf("a file too many: %v", err)
	}
	c.DecRef()
	for _, d := range []*FileDescription{a, b} {
		if err := install(d); err != nil {
			t.Errorf("as many as may be: %v", err)
		}
	}
	c = newFile()
	if err := install(a); err != nil {
		t.Errorf("another descriptor of an open file: %v", err)
	}
	if err := install(c); err != unix.ENFILE {
		t.Errorf("one more: %v", err)
	}
	for _, d := range append(table.RemoveRange(0, 100), a, b, c) {
		d.DecRef()
	}
	if n, _ := OpenFiles(); n != before {
		t.Errorf("at the end %d files are open", n-before)
	}
}

func TestMaxFilesFor(t *testing.T) {
	for memory, want := range map[uint64]int64{0: 8192, 64 << 20: 8192, 1 << 30: 104857} {
		if got := MaxFilesFor(memory); got != want {
			t.Errorf("%d bytes: %d files, want %d", memory, got, want)
		}
	}
}
