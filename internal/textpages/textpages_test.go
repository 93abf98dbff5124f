package textpages

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// mapped returns how many bytes of the program's own file are mapped for
// reading only, and how many of these have a page.
func mapped(t *testing.T) (size, resident int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ours := false
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		switch {
		case len(fields) > 1 && len(fields[1]) == 4 && strings.Contains(fields[0], "-"):
			ours = fields[1][1] == '-' && fields[len(fields)-1] == exe
		case ours && fields[0] == "Size:":
			size += number(t, fields[1])
		case ours && fields[0] == "Rss:":
			resident += number(t, fields[1])
		}
	}
	return size << 10, resident << 10
}

func number(t *testing.T, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return n
}

func TestRelease(t *testing.T) {
	size, _ := mapped(t)
	segments, err := readOnly()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, s := range segments {
		found += int(s[1] - s[0])
	}
	if found != size || size == 0 {
		t.Errorf("%d bytes of segments were found, %d are mapped", found, size)
	}
	_, before := mapped(t)
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if _, after := mapped(t); after >= before {
		t.Errorf("%d bytes are resident after %d", after, before)
	}
}

func BenchmarkRelease(b *testing.B) {
	for b.Loop() {
		if err := release(); err != nil {
			b.Fatal(err)
		}
	}
}
