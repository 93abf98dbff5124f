package boot

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"coffer/internal/handover"
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
	data, err := handover.Encode(&b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b Sandbox
		if handover.Decode(data, &b) == nil && b.check() == nil && (b.Root <= fdControl || b.Args[0] == "") {
			t.Errorf("%+v passes", b)
		}
	})
}

// TestDescriptionIsHandedOver has all fields of a description arrive, those of lists too.
func TestDescriptionIsHandedOver(t *testing.T) {
	var want Sandbox
	fill(t, reflect.ValueOf(&want).Elem())
	data, err := handover.Encode(&want)
	if err != nil {
		t.Fatal(err)
	}
	var got Sandbox
	if err := handover.Decode(data, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v became %+v", want, got)
	}
}

// fill gives a value and all exported fields below it something that is not zero.
func fill(t *testing.T, v reflect.Value) {
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("fe80::1%eth0")))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("127.0.0.11:53")))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.0.0.2/8")))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(-7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.String:
		v.SetString("seven")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(t, v.Field(i))
			}
		}
	case reflect.Interface: // network.Config.Policy, which is no part of a description
	default:
		t.Fatalf("a %s is in a description", v.Type())
	}
}
