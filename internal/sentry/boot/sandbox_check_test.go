package boot

import (
	"encoding/json"
	"strings"
	"testing"
)

// good is a description without fault.
func good() Sandbox {
	return Sandbox{
		Intercept: "trap", Trace: &Trace{FD: 10},
		Container: Container{
			Hostname: "box", Root: 5, Mounts: []Mount{{Path: "/m", FD: 9}},
			Process: Process{Args: []string{"sh"}, Cwd: "/", Console: -1, Stdio: [3]int{6, 7, 8}},
		},
	}
}

func TestCheck(t *testing.T) {
	b := good()
	if err := b.check(); err != nil {
		t.Fatalf("a good description: %v", err)
	}
	for _, c := range []struct {
		name, want string
		spoil      func(*Sandbox)
	}{
		{"platform", "intercept", func(b *Sandbox) { b.Intercept = "magic" }},
		{"long host name", "host name", func(b *Sandbox) { b.Hostname = strings.Repeat("x", 65) }},
		{"negative memory", "negative", func(b *Sandbox) { b.Memory = -1 }},
		{"umask", "mask", func(b *Sandbox) { b.Umask = 0o1777 }},
		{"groups", "groups", func(b *Sandbox) { b.Groups = make([]uint32, 1<<17) }},
		{"mounts", "mounts", func(b *Sandbox) { b.Mounts = make([]Mount, 2000) }},
		{"no command", "command", func(b *Sandbox) { b.Args = nil }},
		{"empty command", "command", func(b *Sandbox) { b.Args = []string{""} }},
		{"relative directory", "absolute", func(b *Sandbox) { b.Cwd = "x" }},
		{"NUL in an argument", "NUL", func(b *Sandbox) { b.Args = []string{"a", "b\x00c"} }},
		{"NUL in a variable", "NUL", func(b *Sandbox) { b.Env = []string{"A=\x00"} }},
		{"mount on the root", "mount", func(b *Sandbox) { b.Mounts[0].Path = "/.." }},
		{"written file's path", "place for a file", func(b *Sandbox) { b.Written = []WrittenFile{{Path: "x"}} }},
		{"written files", "files to write", func(b *Sandbox) { b.Written = make([]WrittenFile, 17) }},
		{"relative mount", "mount", func(b *Sandbox) { b.Mounts[0].Path = "m" }},
		{"file's name", "name", func(b *Sandbox) { b.Mounts[0].Name = "../x" }},
		{"root's descriptor", "descriptor 3", func(b *Sandbox) { b.Root = 3 }},
		{"negative descriptor", "descriptor -1", func(b *Sandbox) { b.Mounts[0].FD = -1 }},
		{"descriptor twice", "descriptor 7", func(b *Sandbox) { b.Stdio[2] = 7 }},
		{"trace's descriptor", "descriptor 5", func(b *Sandbox) { b.Trace.FD = 5 }},
		{"console's descriptor", "descriptor 0", func(b *Sandbox) { b.Console = 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := good()
			c.spoil(&b)
			if err := b.check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// FuzzDescription checks that no description, however made, is more than an
// error.
func FuzzDescription(f *testing.F) {
	b := good()
	data, err := json.Marshal(b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"Root":1e99}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b Sandbox
		if json.Unmarshal(data, &b) == nil && b.check() == nil && (b.Root <= fdControl || b.Args[0] == "") {
			t.Errorf("%+v passes", b)
		}
	})
}
