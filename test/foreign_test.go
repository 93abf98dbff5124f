package test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// arm64Program is a static program for arm64 that writes the first four bytes
// of its argv[0] and exits with 3.
func arm64Program() []byte {
	const base, headers = 0x400000, 64 + 56
	code := []uint32{
		0xd2800020, // mov x0, #1
		0xf94007e1, // ldr x1, [sp, #8]: argv[0]
		0xd2800082, // mov x2, #4
		0xd2800808, // mov x8, #64: write
		0xd4000001, // svc #0
		0xd2800060, // mov x0, #3
		0xd2800ba8, // mov x8, #93: exit
		0xd4000001, // svc #0
	}
	size := uint64(headers + 4*len(code))
	var b bytes.Buffer
	for _, v := range []any{
		[]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		uint16(2), uint16(183), uint32(1), // ET_EXEC, EM_AARCH64
		uint64(base + headers), uint64(64), uint64(0), // entry, program headers
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x10000), // PT_LOAD, r-x
		code,
	} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	return b.Bytes()
}

// TestForeignProgram runs a program for another machine by QEMU, started by
// the user and by a program, and without QEMU, of which the error tells.
func TestForeignProgram(t *testing.T) {
	dir := t.TempDir()
	prog := filepath.Join(dir, "arm64")
	if err := os.WriteFile(prog, arm64Program(), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range kernelWalls {
		do := append([]string{coffer(t)}, w.args...)
		t.Run(w.name+"/emulated", func(t *testing.T) {
			if _, err := exec.LookPath("/usr/bin/qemu-aarch64-static"); err != nil {
				if _, err := exec.LookPath("/usr/bin/qemu-aarch64"); err != nil {
					t.Skip("neither qemu-user-static nor qemu-user is installed")
				}
			}
			argv := append(append([]string(nil), do...), "--cwd", "/", "--bind", prog+":/arm64", "--")
			for _, c := range []struct {
				argv []string
				want string
			}{
				{[]string{"/arm64"}, "/arm"},
				{[]string{"/bin/bash", "-c", "(exec -a name-of-mine /arm64); e=$?; /arm64; exit $e"}, "name/arm"},
			} {
				r := run(t, 3*time.Minute, "/", "", append(argv, c.argv...)...)
				if r.stdout != c.want || r.code != 3 {
					t.Errorf("%q: exit status %d, output %q, want %q; errors:\n%s", c.argv, r.code, r.stdout, c.want, tail(r.stderr))
				}
			}
		})
		t.Run(w.name+"/alone", func(t *testing.T) {
			r := run(t, time.Minute, "/", "", append(do, "--rootfs", dir, "--", "/arm64")...)
			if r.code != 126 || !strings.Contains(r.stderr, "linux/arm64") || !strings.Contains(r.stderr, "qemu-user-static") {
				t.Errorf("exit status %d, errors:\n%s", r.code, tail(r.stderr))
			}
		})
	}
	nothingLeft(t)
}
