// Package handover writes down what one process of this program tells another one, of the same
// executable, when it starts it. It does what encoding/json does without what takes that long in
// a process that has just begun: to meet types, those of fields that are not set included.
//
// There are no names in it: a structure is its exported fields in their order, so that only the
// same program can read it. Nothing that is kept or that other versions read may be written so.
//
// It must import nothing of ours.
package handover

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
)

// Encode returns what Decode makes a value like *v of. What cannot be handed over is an error:
// interfaces that are not nil, functions, channels, and structures that are opaque without an
// encoding.TextMarshaler. A nil slice or map stays nil.
func Encode[T any](v *T) ([]byte, error) {
	var e encoder
	err := e.value(reflect.ValueOf(v).Elem())
	return e.data, err
}

// Decode sets *v, which is zero, to what was encoded.
func Decode[T any](data []byte, v *T) error {
	d := decoder{data}
	if err := d.value(reflect.ValueOf(v).Elem()); err != nil {
		return err
	}
	if len(d.data) != 0 {
		return fmt.Errorf("%d bytes are left after the end", len(d.data))
	}
	return nil
}

type encoder struct{ data []byte }

func (e *encoder) number(n int) { e.data = binary.AppendUvarint(e.data, uint64(n)) }

func (e *encoder) value(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Bool:
		e.data = append(e.data, 0)
		if v.Bool() {
			e.data[len(e.data)-1] = 1
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.data = binary.AppendVarint(e.data, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		e.data = binary.AppendUvarint(e.data, v.Uint())
	case reflect.String:
		e.number(v.Len())
		e.data = append(e.data, v.String()...)
	case reflect.Pointer:
		if v.IsNil() {
			e.number(0)
			return nil
		}
		e.number(1)
		return e.value(v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			e.number(0)
			return nil
		}
		e.number(1 + v.Len())
		return e.elements(v)
	case reflect.Array:
		return e.elements(v)
	case reflect.Map:
		if v.IsNil() {
			e.number(0)
			return nil
		}
		e.number(1 + v.Len())
		for i := v.MapRange(); i.Next(); {
			if err := errors.Join(e.value(i.Key()), e.value(i.Value())); err != nil {
				return err
			}
		}
	case reflect.Struct:
		if !transparent(v) {
			return e.opaque(v)
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanInterface() {
				if err := e.value(f); err != nil {
					return err
				}
			}
		}
	case reflect.Interface:
		if !v.IsNil() {
			return fmt.Errorf("a %s cannot be handed over", v.Type())
		}
	default:
		return fmt.Errorf("a %s cannot be handed over", v.Type())
	}
	return nil
}

// opaque writes a structure as it writes itself.
func (e *encoder) opaque(v reflect.Value) error {
	if v.CanAddr() {
		v = v.Addr()
	}
	m, ok := v.Interface().(encoding.TextMarshaler)
	if !ok {
		return fmt.Errorf("a %s cannot be handed over", v.Type())
	}
	b, err := m.MarshalText()
	e.number(len(b))
	e.data = append(e.data, b...)
	return err
}

func (e *encoder) elements(v reflect.Value) error {
	if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
		e.data = append(e.data, v.Bytes()...)
		return nil
	}
	for i := range v.Len() {
		if err := e.value(v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// transparent reports whether a structure has an exported field, or none at all.
func transparent(v reflect.Value) bool {
	for i := range v.NumField() {
		if v.Field(i).CanInterface() {
			return true
		}
	}
	return v.NumField() == 0
}

type decoder struct{ data []byte }

var errShort = errors.New("it ends too early")

func (d *decoder) uint() (uint64, error) {
	n, size := binary.Uvarint(d.data)
	if size <= 0 {
		return 0, errShort
	}
	d.data = d.data[size:]
	return n, nil
}

func (d *decoder) int() (int64, error) {
	n, size := binary.Varint(d.data)
	if size <= 0 {
		return 0, errShort
	}
	d.data = d.data[size:]
	return n, nil
}

// number is a number of elements, of which each takes a byte at least.
func (d *decoder) number() (int, error) {
	n, err := d.uint()
	if err == nil && n > uint64(len(d.data))+1 {
		return 0, errShort
	}
	return int(n), err
}

func (d *decoder) bytes(n int) ([]byte, error) {
	if n > len(d.data) {
		return nil, errShort
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b, nil
}

func (d *decoder) value(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Bool:
		n, err := d.uint()
		v.SetBool(n != 0)
		return err
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := d.int()
		if v.OverflowInt(n) {
			return fmt.Errorf("%d is no %s", n, v.Type())
		}
		v.SetInt(n)
		return err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := d.uint()
		if v.OverflowUint(n) {
			return fmt.Errorf("%d is no %s", n, v.Type())
		}
		v.SetUint(n)
		return err
	case reflect.String:
		b, err := d.text()
		v.SetString(string(b))
		return err
	case reflect.Array:
		return d.elements(v)
	case reflect.Pointer, reflect.Slice, reflect.Map:
		n, err := d.number()
		if err != nil || n == 0 {
			return err
		}
		return d.pointed(v, n)
	case reflect.Struct:
		return d.structure(v)
	case reflect.Interface:
		return nil
	}
	return fmt.Errorf("a %s cannot be handed over", v.Type())
}

// text is what has its length before it.
func (d *decoder) text() ([]byte, error) {
	n, err := d.number()
	if err != nil {
		return nil, err
	}
	return d.bytes(n)
}

// pointed sets what is not nil. n is 1 for a pointer, and one more than there are elements.
func (d *decoder) pointed(v reflect.Value, n int) error {
	switch t := v.Type(); v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		return d.value(v.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			b, err := d.bytes(n - 1)
			v.SetBytes(append(make([]byte, 0, len(b)), b...))
			return err
		}
		v.Set(reflect.MakeSlice(t, n-1, n-1))
		return d.elements(v)
	default:
		v.Set(reflect.MakeMapWithSize(t, n-1))
		key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		for range n - 1 {
			key.SetZero()
			value.SetZero()
			if err := errors.Join(d.value(key), d.value(value)); err != nil {
				return err
			}
			v.SetMapIndex(key, value)
		}
		return nil
	}
}

func (d *decoder) elements(v reflect.Value) error {
	for i := range v.Len() {
		if err := d.value(v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) structure(v reflect.Value) error {
	if !transparent(v) {
		u, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
		if !ok {
			return fmt.Errorf("a %s cannot be handed over", v.Type())
		}
		b, err := d.text()
		if err != nil {
			return err
		}
		return u.UnmarshalText(b)
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.CanSet() {
			if err := d.value(f); err != nil {
				return err
			}
		}
	}
	return nil
}
