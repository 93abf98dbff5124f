package process

import (
	"encoding/json"
	"reflect"
	"testing"

	"coffer/internal/handover"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestSentSpec: init gets each field of a Spec but those that it has no use for.
func TestSentSpec(t *testing.T) {
	full := new(specs.Spec)
	fill(reflect.ValueOf(full).Elem())
	for name, spec := range map[string]*specs.Spec{
		"full": full, "no field for Linux": {Linux: new(specs.Linux), Process: new(specs.Process)}, "not for Linux": {Version: "1"},
	} {
		t.Run(name, func(t *testing.T) { send(t, spec) })
	}
}

func send(t *testing.T, spec *specs.Spec) {
	data, err := handover.Encode(&instructions{Spec: sent(spec)})
	if err != nil {
		t.Fatal(err)
	}
	var got instructions
	if err := handover.Decode(data, &got); err != nil {
		t.Fatal(err)
	}
	want := *spec
	want.Annotations = nil
	want.Solaris, want.Windows, want.VM, want.ZOS, want.FreeBSD = nil, nil, nil, nil, nil
	if spec.Linux != nil {
		linux := *spec.Linux
		linux.Resources, linux.Seccomp, linux.IntelRdt = nil, nil, nil
		want.Linux = &linux
	}
	if !reflect.DeepEqual(got.Spec, &want) {
		a, _ := json.Marshal(got.Spec)
		b, _ := json.Marshal(&want)
		t.Errorf("init gets\n%s, want\n%s", a, b)
	}
}

// fill gives all fields of a value something else than nothing.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("some")
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}
