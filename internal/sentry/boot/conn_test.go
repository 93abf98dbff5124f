package boot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// connected returns the two ends of a connection.
func connected(t *testing.T) (client, server *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []**Conn{&client, &server} {
		if *c, err = NewConn(fds[i]); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*c).Close() })
	}
	return client, server
}

// TestDescriptors sends more descriptors than one message carries, with a long
// document and a short one after it.
func TestDescriptors(t *testing.T) {
	client, server := connected(t)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const count = 2*rightsMax + 10
	fds := make([]int, count)
	for i := range fds {
		fds[i] = int(f.Fd())
	}
	sent := make(chan error, 1)
	go func() {
		err := client.Send(Request{Op: OpExec, Container: strings.Repeat("x", 3*chunk)}, fds...)
		if err == nil {
			err = client.Send(Request{Op: OpStart})
		}
		sent <- err
	}()
	var req Request
	got, err := server.receiveWith(&req, RequestMax)
	if err != nil || len(got) != count || len(req.Container) != 3*chunk {
		t.Errorf("%d descriptors and %d bytes came, want %d and %d (%v)", len(got), len(req.Container), count, 3*chunk, err)
	}
	for _, fd := range got {
		if same, err := sameFile(fd, int(f.Fd())); err != nil || !same {
			t.Errorf("descriptor %d is another file (%v)", fd, err)
		}
		unix.Close(fd)
	}
	var next Request
	if got, err := server.receiveWith(&next, RequestMax); err != nil || next.Op != OpStart || len(got) != 0 {
		t.Errorf("then came %+v with %d descriptors, %v", next, len(got), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestTooManyDescriptors(t *testing.T) {
	client, server := connected(t)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fds := make([]int, donationMax+1)
	for i := range fds {
		fds[i] = int(f.Fd())
	}
	go client.Send(Request{Op: OpExec, Container: "a long document, so that all of them fit"}, fds...)
	got, err := server.receiveWith(new(Request), RequestMax)
	if err == nil {
		t.Errorf("%d descriptors came", len(got))
	}
	for _, fd := range got {
		unix.Close(fd)
	}
}

func TestHasWhole(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	request := Request{Op: OpSignal, Container: "c"}
	long := request
	long.Container = strings.Repeat("c", wholeMax)
	for _, c := range []struct {
		name string
		send func(*Conn) error
		want bool
	}{
		{"nothing", func(*Conn) error { return nil }, false},
		{"half a header", func(c *Conn) error { _, err := c.f.Write([]byte{1, 0}); return err }, false},
		{"a promise", func(c *Conn) error { _, err := c.f.Write([]byte("\xff\xff\xff\xff")); return err }, false},
		{"a request", func(c *Conn) error { return c.Send(request) }, true},
		{"a long one", func(c *Conn) error { return c.Send(long) }, false},
		{"one with a descriptor", func(c *Conn) error { return c.Send(request, int(f.Fd())) }, false},
		{"the end", func(c *Conn) error { return c.Close() }, false},
	} {
		client, server := connected(t)
		if err := c.send(client); err != nil {
			t.Fatal(err)
		}
		if got := server.hasWhole(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if c.want {
			if r := receiveRequest(server); r.err != nil || r.req.Op != OpSignal {
				t.Errorf("%s: %+v", c.name, r)
			}
		}
	}
}

func message(body string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestReceive(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		want       string // part of the error
		err        error
	}{
		{"nothing", "", "", io.EOF},
		{"half a header", "\x01\x00", "", io.ErrUnexpectedEOF},
		{"half a document", string(message(`{"op":"start"}`)[:8]), "", io.ErrUnexpectedEOF},
		{"too long", "\xff\xff\xff\xff", "", errTooLong},
		{"empty", string(message("")), "not what it should be", nil},
		{"another type", string(message(`{"op":7}`)), "not what it should be", nil},
	} {
		err := receive(strings.NewReader(c.sent), new(Request), RequestMax)
		if err == nil || c.err != nil && !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestLongList: a list of more processes than there can be is not taken into
// memory, which would be many times as large, also if it comes in parts.
func TestLongList(t *testing.T) {
	half := "[" + strings.TrimSuffix(strings.Repeat("{},", kernel.DefaultMaxTasks), ",") + "]"
	var reply Reply
	if err := json.Unmarshal([]byte(`{"processes":`+half+`}`), &reply); err != nil || len(reply.Processes) != kernel.DefaultMaxTasks {
		t.Errorf("%d processes came (%v)", len(reply.Processes), err)
	}
	for name, text := range map[string]string{
		"one":   `{"processes":` + strings.TrimSuffix(half, "]") + `,{}]}`,
		"two":   `{"processes":` + half + `,"processes":` + half + `}`,
		"other": `{"processes":{"pid":1}}`,
	} {
		var reply Reply
		if err := json.Unmarshal([]byte(text), &reply); err == nil || len(reply.Processes) > kernel.DefaultMaxTasks {
			t.Errorf("%s: %d processes came (%v)", name, len(reply.Processes), err)
		}
	}
}

// FuzzReceive feeds the reader of replies what no sentry would send that is its
// own master.
func FuzzReceive(f *testing.F) {
	f.Add(message(`{"processes":[{"pid":1,"command":"sh"}]}`))
	f.Add(message(`{"ended":true,"status":256}`))
	f.Add([]byte("\xff\xff\xff\xff{}"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		r := bytes.NewReader(sent)
		err := receive(r, new(Reply), ReplyMax)
		if read := len(sent) - r.Len(); err == nil && (read < headerSize || read != headerSize+int(binary.LittleEndian.Uint32(sent))) {
			t.Errorf("%d bytes were read of %q", read, sent)
		}
	})
}

// FuzzRequest checks that no request, however made, names a descriptor that did
// not come with it, or one of them twice.
func FuzzRequest(f *testing.F) {
	for _, r := range []Request{
		{Op: OpExec, Process: &Process{Args: []string{"sh"}, Cwd: "/", Console: -1, Stdio: [3]int{0, 1, 2}}},
		{Op: OpExec, Process: &Process{Args: []string{"sh"}, Cwd: "/", Console: 2, Extra: []int{1, 0}}},
		{Op: OpAdd, New: &Container{ID: "b", Gate: 1, Process: Process{Args: []string{"sh"}, Cwd: "/", Console: 2}}},
		{Op: OpStart, Container: "a"},
	} {
		data, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, byte(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, count byte) {
		var r Request
		if json.Unmarshal(data, &r) != nil {
			return
		}
		fds := make([]int, count)
		for i := range fds {
			fds[i] = 1000 + i
		}
		places, err := r.adopt(fds)
		if err != nil {
			return
		}
		seen := map[int]bool{}
		for _, p := range places {
			if *p < 1000 || *p >= 1000+len(fds) || seen[*p] {
				t.Errorf("descriptor %d of %d", *p, count)
			}
			seen[*p] = true
		}
		if len(seen) != len(fds) {
			t.Errorf("%d descriptors came, %d are used", len(fds), len(seen))
		}
	})
}
