package boot

import (
	"bytes"
	"os"
	"testing"
)

// TestDocument fails when docs/hostcalls.md is not what the tables say.
func TestDocument(t *testing.T) {
	have, err := os.ReadFile("../../../docs/hostcalls.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, Document()) {
		t.Error("docs/hostcalls.md is stale; run: go run ./internal/tools/hostcalldoc > docs/hostcalls.md")
	}
}
