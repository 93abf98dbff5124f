package syscalls

import (
	"bytes"
	"os"
	"testing"
)

// TestDocument fails when docs/syscalls.md is not what the table says.
func TestDocument(t *testing.T) {
	have, err := os.ReadFile("../../../docs/syscalls.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := New().Document(); !bytes.Equal(have, want) {
		t.Error("docs/syscalls.md is stale; run: go run ./internal/tools/syscalldoc > docs/syscalls.md")
	}
}
