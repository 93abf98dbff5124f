package sysno

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestNumbers(t *testing.T) {
	for _, test := range []struct {
		name string
		arch Arch
		want uint32
	}{
		{"read", AMD64, 0}, {"read", X86, 3}, {"read", ARM64, 63}, {"read", X32, X32Bit},
		{"execve", AMD64, 59}, {"execve", X32, X32Bit + 520},
		{"_llseek", X86, 140}, {"socketcall", X86, 102}, {"pwritev2", X32, X32Bit + 547},
	} {
		if nr, ok := Find(test.name).Number(test.arch); !ok || nr != test.want {
			t.Errorf("%s on %d is %d, %v; want %d", test.name, test.arch, nr, ok, test.want)
		}
	}
	for name, arch := range map[string]Arch{"_llseek": AMD64, "fork": ARM64, "uselib": X32, "semop": X86} {
		if nr, ok := Find(name).Number(arch); ok {
			t.Errorf("%s on %d is %d, and should not be there", name, arch, nr)
		}
	}
	if Find("no_such_call") != nil || Find("") != nil || Find("zzz") != nil {
		t.Error("a call that is none is found")
	}
	if !slices.IsSortedFunc(All(), func(a, b Call) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the table is not in the order of names")
	}
}

// The kernel's headers, where they are installed, may be older than the table,
// but what they have is right.
func TestNumbersAreTheKernels(t *testing.T) {
	line := regexp.MustCompile(`(?m)^#define __NR_(\w+)\s+(?:\(__X32_SYSCALL_BIT \+ (\d+)\)|(\d+))$`)
	for file, arch := range map[string]Arch{"unistd_64.h": AMD64, "unistd_32.h": X86, "unistd_x32.h": X32} {
		data, err := os.ReadFile("/usr/include/x86_64-linux-gnu/asm/" + file)
		if err != nil {
			t.Skipf("the kernel's headers are not installed: %v", err)
		}
		header := map[string]uint32{}
		for _, m := range line.FindAllStringSubmatch(string(data), -1) {
			n, err := strconv.ParseUint(m[2]+m[3], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			if arch == X32 {
				n |= X32Bit
			}
			header[m[1]] = uint32(n)
		}
		if len(header) < 300 {
			t.Fatalf("%s has %d calls", file, len(header))
		}
		highest := uint32(0)
		for name, want := range header {
			if want < X32Bit+512 {
				highest = max(highest, want)
			}
			c := Find(name)
			if c == nil {
				t.Errorf("%s: the table lacks %s", file, name)
				continue
			}
			if nr, ok := c.Number(arch); !ok || nr != want {
				t.Errorf("%s: %s is %d, %v; want %d", file, name, nr, ok, want)
			}
		}
		for _, c := range All() {
			nr, ok := c.Number(arch)
			// Numbers 335 to 423 are used for amd64's own calls lately.
			if _, known := header[c.Name]; ok && nr <= highest && !known && (arch != AMD64 || nr < 335 || nr > 423) {
				t.Errorf("%s lacks %s, which the table has as %d", file, c.Name, nr)
			}
		}
	}
}

func BenchmarkFind(b *testing.B) {
	for b.Loop() {
		Find("openat2")
	}
}
