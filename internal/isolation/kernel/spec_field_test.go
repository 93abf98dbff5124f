package kernel

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// leaves lists the paths of all fields of a type that hold no further ones.
func leaves(t reflect.Type, path string) []string {
	switch t.Kind() {
	case reflect.Pointer:
		return leaves(t.Elem(), path)
	case reflect.Slice:
		if e := t.Elem(); e.Kind() == reflect.Struct {
			return leaves(e, path+"[]")
		}
	case reflect.Struct:
		var out []string
		for i := range t.NumField() {
			out = append(out, leaves(t.Field(i).Type, join(path, jsonName(t.Field(i))))...)
		}
		return out
	}
	return []string{path}
}

// Every field of the specification is in the table, and nothing else.
func TestFieldsAreAll(t *testing.T) {
	all := leaves(reflect.TypeFor[specs.Spec](), "")
	if len(all) < 100 {
		t.Fatalf("the specification has %d fields", len(all))
	}
	for _, path := range all {
		if !covered(path) {
			t.Errorf("%s is not in the table: say there what the kernel wall makes of it", path)
		}
	}
	seen := map[string]bool{}
	for _, f := range fields {
		if seen[f.Path] {
			t.Errorf("%s is listed twice", f.Path)
		}
		seen[f.Path] = true
		there := slices.ContainsFunc(all, func(p string) bool {
			return p == f.Path || strings.HasPrefix(p, f.Path+".") || strings.HasPrefix(p, f.Path+"[")
		})
		if !there {
			t.Errorf("%s is listed, and is no field of the specification", f.Path)
		}
		if slices.Contains([]Support{Refused, NoEffect}, f.Support) && f.Note == "" {
			t.Errorf("%s does not say why", f.Path)
		}
	}
}

// covered reports whether a field or one that it lies in is listed.
func covered(path string) bool {
	for path != "" {
		if _, ok := fieldOf(path); ok {
			return true
		}
		switch i := strings.LastIndexAny(path, ".["); {
		case i < 0:
			path = ""
		default:
			path = path[:i]
		}
	}
	return false
}

// fill sets the field at a path to something that is not zero, and makes what
// leads to it.
func fill(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if path == "" {
		switch v.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		case reflect.Map:
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf("x"), reflect.Zero(v.Type().Elem()))
		case reflect.Struct: // a pointer to one is set
			v.Field(0).Set(reflect.ValueOf(v.Field(0).Interface()))
			fill(t, v.Field(0), "")
		default:
			t.Fatalf("a %s", v.Kind())
		}
		return
	}
	if rest, ok := strings.CutPrefix(path, "[]"); ok {
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), strings.TrimPrefix(rest, "."))
		return
	}
	end := strings.IndexAny(path+".", ".[")
	name, rest := path[:end], strings.TrimPrefix(path[end:], ".")
	for i := range v.NumField() {
		if jsonName(v.Type().Field(i)) == name {
			fill(t, v.Field(i), rest)
			return
		}
	}
	t.Fatalf("%s has no field %s", v.Type(), name)
}

// What the table refuses is refused, by name and with the reason.
func TestRefusedFields(t *testing.T) {
	refused := 0
	for _, f := range fields {
		if f.Support != Refused {
			continue
		}
		refused++
		spec := new(specs.Spec)
		fill(t, reflect.ValueOf(spec), f.Path)
		err := refuse(reflect.ValueOf(spec), "")
		if err == nil || err.Error() != fmt.Sprintf("%s: %s", f.Path, f.Note) {
			t.Errorf("%s: %v", f.Path, err)
		}
	}
	if refused == 0 {
		t.Error("nothing is refused")
	}
	if err := refuse(reflect.ValueOf(new(specs.Spec)), ""); err != nil {
		t.Errorf("an empty spec: %v", err)
	}
}

// TestDocument fails when docs/kernel-wall-spec.md is not what the table says.
func TestDocument(t *testing.T) {
	have, err := os.ReadFile("../../../docs/kernel-wall-spec.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, Document()) {
		t.Error("docs/kernel-wall-spec.md is stale; run: go run ./internal/tools/specdoc > docs/kernel-wall-spec.md")
	}
	for _, f := range fields {
		if !slices.ContainsFunc(supportTexts, func(s struct {
			kind Support
			text string
		}) bool {
			return s.kind == f.Support
		}) {
			t.Errorf("nobody says what %q is, of %s", f.Support, f.Path)
		}
	}
}
