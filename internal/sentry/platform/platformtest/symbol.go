package platformtest

import (
	"bytes"
	"debug/elf"
	"testing"
)

// findSymbol returns a dynamic symbol's value in an ELF image.
func findSymbol(t *testing.T, image []byte, name string) uint64 {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == name {
			return s.Value
		}
	}
	t.Fatalf("no symbol %s", name)
	return 0
}
