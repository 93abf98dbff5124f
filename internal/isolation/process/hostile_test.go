package process

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// FuzzListen: whatever init says, the caller takes it for a report, an error
// or the end.
func FuzzListen(f *testing.F) {
	f.Add([]byte(`i{"say":"ready"}`))
	f.Add([]byte(`i{"say":"error","error":"x","program":127}`))
	f.Add([]byte(`i{"say":"warning","error":"x"}`))
	f.Add([]byte(`f`))
	f.Add([]byte(`i`))
	f.Add([]byte(`i{"say":"ready","program":1e99}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs, err := newChannel()
		if err != nil {
			t.Fatal(err)
		}
		defer ours.close()
		if err := unix.Sendmsg(theirs.fd, data, nil, nil, unix.MSG_NOSIGNAL); err != nil && !errors.Is(err, unix.EMSGSIZE) {
			t.Fatal(err)
		}
		theirs.close()
		talk := &conversation{channel: ours, spec: isolation.Known(&specs.Spec{Linux: &specs.Linux{}})}
		r, files, err := talk.listen()
		if len(files) > 0 {
			t.Errorf("%d files come from nowhere", len(files))
		}
		if err == nil && (r.Say == sayError || r.Say == sayWarning) {
			t.Errorf("%+v is no error", r)
		}
		if code := programCode(err); code != 0 && code != notFound && code != notExecutable {
			t.Errorf("the exit code is %d", code)
		}
	})
}

// TestLongMessages: what is too large for the socket goes through a file, and
// to those who don't trust the sender not at all.
func TestLongMessages(t *testing.T) {
	ours, theirs, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.close()
	defer theirs.close()
	long := word{Word: strings.Repeat("long", inlineMax)}
	if err := theirs.send(&long); err != nil {
		t.Fatal(err)
	}
	var w word
	files, err := ours.receive(&w)
	if err != nil || w.Word != long.Word || len(files) != 0 {
		t.Errorf("a long message arrives with %d bytes, %d files, %v", len(w.Word), len(files), err)
	}
	if err := theirs.send(&long); err != nil {
		t.Fatal(err)
	}
	_, err = ours.receiveInline(&w)
	mustFail(t, err, "where none is expected")
	if err := theirs.send(&report{Say: sayError, Error: shorten(strings.Repeat("\x01", 1<<20))}); err != nil {
		t.Fatal(err)
	}
	var r report
	if _, err := ours.receiveInline(&r); err != nil || !strings.HasSuffix(r.Error, "...") {
		t.Errorf("a long error arrives with %d bytes, %v", len(r.Error), err)
	}
	theirs.close()
	if _, err := ours.receive(&w); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}
}

// TestEndlessWarnings: an init that does nothing but warn is given up.
func TestEndlessWarnings(t *testing.T) {
	log := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	defer slog.SetDefault(log)
	ours, theirs, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for theirs.send(&report{Say: sayWarning, Error: "again"}) == nil {
		}
	}()
	talk := &conversation{channel: ours}
	_, _, err = talk.listen()
	mustFail(t, err, "warnings")
	ours.close()
	<-ended
	theirs.close()
}

func TestEnvironment(t *testing.T) {
	p := &specs.Process{Env: []string{"A=1", "HOME=", "B=2", "A=3", "C"}, User: specs.User{UID: 1 << 31}}
	if got := strings.Join(environment(p), " "); got != "A=3 B=2 C HOME=/" {
		t.Errorf("the environment is %q", got)
	}
	p.Env = []string{"HOME=/x"}
	if got := strings.Join(environment(p), " "); got != "HOME=/x" {
		t.Errorf("the environment is %q", got)
	}
}

// FuzzStat: the name of a program, which it chooses, is in parentheses.
func FuzzStat(f *testing.F) {
	f.Add("7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 5 6 0 0 20 0 3 0 1234")
	f.Add(") (")
	f.Add("7 (x) ")
	f.Fuzz(func(t *testing.T, line string) {
		if p, err := parseStat(line); err == nil && !strings.HasPrefix(p.Command, "[") {
			t.Errorf("%q is described as %+v", line, p)
		}
	})
}

func TestStat(t *testing.T) {
	p, err := parseStat("7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 5 6 0 0 20 0 3 0 1234")
	if err != nil || p.PPID != 1 || p.Threads != 3 || p.CPU != 110e6 || p.Command != "[a) b]" {
		t.Errorf("it is %+v, %v", p, err)
	}
}
