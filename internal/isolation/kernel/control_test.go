package kernel

import (
	"bufio"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"
)

func TestNext(t *testing.T) {
	for _, c := range []struct{ name, sent, op, err string }{
		{"event", `{"op":"exit","status":256}` + "\n", "exit", ""},
		{"nothing", "", "", "EOF"},
		{"half a line", `{"op":"exit"`, "", "EOF"},
		{"no JSON", "exit\n", "", "invalid character"},
		{"another type", `{"op":7}` + "\n", "", "cannot unmarshal"},
		{"a number out of bounds", `{"op":"exit","status":1e30}` + "\n", "exit", "cannot unmarshal"},
		{"endless", strings.Repeat("x", 10*lineMax), "", "longer than"},
		{"deep", strings.Repeat("[", lineMax-1) + "\n", "", "depth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Sandbox{events: bufio.NewReaderSize(strings.NewReader(c.sent), lineMax)}
			m, err := s.next()
			if m.Op != c.op {
				t.Errorf("event %q, want %q", m.Op, c.op)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

func TestEnded(t *testing.T) {
	for status, ok := range map[int]bool{
		0: true, 256: true, 0xff00: true, 9: true, 0x8b: true,
		-1: false, 0x137f: false, 0xffff: false, 0x10000: false, 1 << 40: false,
	} {
		if _, err := ended(status); (err == nil) != ok {
			t.Errorf("%#x: %v", status, err)
		}
	}
}

// TestTold: a sentry can say of a program that it cannot be run, and nothing else
// by a code; nor has it a say in the user's terminal.
func TestTold(t *testing.T) {
	for code, program := range map[int]bool{125: false, 126: true, 127: true, 0: false, 1: false, -1: false, 128: false} {
		err := told(code, "no\x1b[2J"+strings.Repeat("o", errorMax))
		var pe *isolation.ProgramError
		if errors.As(err, &pe) != program || program && pe.Code != code {
			t.Errorf("%d: %v", code, pe)
		}
		var r refusal
		if !errors.As(err, &r) || !strings.HasPrefix(err.Error(), "no?[2Jo") || len(err.Error()) != errorMax {
			t.Errorf("%d: %d bytes, %.20q", code, len(err.Error()), err)
		}
	}
}

// FuzzNext feeds the reader of events what no sentry would send.
func FuzzNext(f *testing.F) {
	f.Add([]byte(`{"op":"error","error":"x","code":127}` + "\n"))
	f.Add([]byte("\n{}\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		s := &Sandbox{events: bufio.NewReaderSize(strings.NewReader(string(sent)), lineMax)}
		m, err := s.next()
		if err != nil {
			return
		}
		var want boot.Message
		line, _, _ := strings.Cut(string(sent), "\n")
		if err := json.Unmarshal([]byte(line), &want); err != nil || m != want {
			t.Errorf("%+v, want %+v (%v)", m, want, err)
		}
		if _, err := ended(m.Status); err == nil && m.Status > 0xffff {
			t.Errorf("status %#x passes", m.Status)
		}
	})
}
