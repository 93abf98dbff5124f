package loader

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestForeignMachine(t *testing.T) {
	head := func(class, data, typ, id byte) []byte {
		b := make([]byte, scriptLine)
		copy(b, "\x7fELF")
		b[4], b[5] = class, data
		if data == elfBig {
			b[17], b[19] = typ, id
		} else {
			b[16], b[18] = typ, id
		}
		return b
	}
	for _, c := range []struct {
		name, want string
		head       []byte
	}{
		{"arm64", "aarch64", head(elf64, elfLittle, typeExec, 183)},
		{"position-independent", "aarch64", head(elf64, elfLittle, typeDyn, 183)},
		{"arm", "arm", head(elf32, elfLittle, typeExec, 40)},
		{"386", "i386", head(elf32, elfLittle, typeDyn, 3)},
		{"riscv64", "riscv64", head(elf64, elfLittle, typeDyn, 243)},
		{"s390x", "s390x", head(elf64, elfBig, typeDyn, 22)},
		{"this machine", "", head(elf64, elfLittle, typeExec, machineX64)},
		{"an object", "", head(elf64, elfLittle, 1, 183)},
		{"arm64 of 32 bits", "", head(elf32, elfLittle, typeExec, 183)},
		{"big-endian arm64", "", head(elf64, elfBig, typeExec, 183)},
		{"little-endian s390x", "", head(elf64, elfLittle, typeExec, 22)},
		{"unknown", "", head(elf64, elfLittle, typeExec, 200)},
		{"no ELF", "", make([]byte, scriptLine)},
		{"short", "", []byte("\x7fELF\x02\x01")},
	} {
		got := ""
		if m := foreignMachine(c.head); m != nil {
			got = m.qemu
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestEmulator(t *testing.T) {
	w := newWorld(t)
	foreign := simple()
	foreign.machine = 183
	w.write("/arm", foreign.build(), 0o755)
	w.write("/script", []byte("#!/arm -x\n"), 0o755)

	_, err := w.open("/arm", []string{"name", "a"}, nil)
	var missing *ForeignError
	if !errors.As(err, &missing) || missing.Platform != "linux/arm64" || !errors.Is(err, unix.ENOEXEC) {
		t.Fatalf("without an emulator: %v", err)
	}

	for _, dir := range []string{"/usr", "/usr/bin"} {
		if err := w.ns.MkdirAt(root, w.o, dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const dynamic, static = "/usr/bin/qemu-aarch64", "/usr/bin/qemu-aarch64-static"
	check := func(name string, argv, want []string) {
		t.Helper()
		i, err := w.open(name, argv, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		m, ctx, p := loadImage(t, i, false)
		defer m.DecRef()
		v := readStack(t, ctx, p.Stack)
		if !slices.Equal(v.argv, want) {
			t.Errorf("%s: arguments %q, want %q", name, v.argv, want)
		}
		if v.aux[atFlags] != flagsPreserveArgv0 {
			t.Errorf("%s: AT_FLAGS is %#x", name, v.aux[atFlags])
		}
	}
	w.write(dynamic, simple().build(), 0o755)
	check("/arm", []string{"name", "a"}, []string{dynamic, "/arm", "name", "a"})
	w.write(static, simple().build(), 0o755)
	check("/arm", []string{"name", "a"}, []string{static, "/arm", "name", "a"})
	check("/script", []string{"name", "a"}, []string{static, "/arm", "/arm", "-x", "/script", "a"})

	// An emulator that is for another machine itself leads nowhere.
	w.write(static, foreign.build(), 0o755)
	if _, err := w.open("/arm", []string{"name"}, nil); err != unix.ELOOP {
		t.Errorf("emulators of each other: %v", err)
	}
	if err := w.ns.UnlinkAt(root, w.o, static); err != nil {
		t.Fatal(err)
	}
	w.write(static, simple().build(), 0o644)
	if _, err := w.open("/arm", []string{"name"}, nil); err != unix.EACCES {
		t.Errorf("an emulator that cannot be executed: %v", err)
	}
}

func FuzzForeignMachine(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"))
	f.Add([]byte("#!/bin/sh\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if m := foreignMachine(head); m != nil && (m.qemu == "" || m.id == machineX64) {
			t.Errorf("%q is %+v", head, m)
		}
	})
}
