package handover

import (
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

type level string

// secret is a structure that tells what is in it by itself only.
type secret struct{ text string }

func (s *secret) MarshalText() ([]byte, error) { return []byte(s.text), nil }

func (s *secret) UnmarshalText(b []byte) error {
	s.text = string(b)
	return nil
}

type inner struct {
	Prefix netip.Prefix
	Data   []byte
	hidden int
}

type everything struct {
	Bool      bool
	Int       int
	Small     int8
	Large     uint64
	Name      level
	Timeout   time.Duration
	Stamp     time.Time
	Numbers   [3]int
	List      []string
	Inner     *inner
	Nested    [][]uint32
	Map       map[string]*uint16
	Secret    *secret
	Missing   *inner
	NoList    []inner
	EmptyList []inner
	NoMap     map[int]int
	Nothing   struct{}
	inner
	unseen chan int
}

func full() *everything {
	n := uint16(7)
	return &everything{
		Bool: true, Int: math.MinInt, Small: -128, Large: math.MaxUint64, Name: "kernel", Timeout: time.Hour,
		Stamp: time.Unix(1700000000, 5).UTC(), Numbers: [3]int{-1, 0, 1}, List: []string{"", "a\x00b", "\xff\xfe"},
		Inner:  &inner{Prefix: netip.MustParsePrefix("fe80::1/64"), Data: []byte{0, 255}},
		Nested: [][]uint32{nil, {}, {1, math.MaxUint32}}, Map: map[string]*uint16{"set": &n, "nil": nil}, EmptyList: []inner{},
		Secret: &secret{"x"},
	}
}

func TestHandedOver(t *testing.T) {
	for _, want := range []*everything{full(), {}} {
		data, err := Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got := new(everything)
		if err := Decode(data, got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\nbecame\n%+v", want, got)
		}
		for n := range data {
			if Decode(data[:n], new(everything)) == nil {
				t.Errorf("the first %d of %d bytes are taken for all", n, len(data))
			}
		}
		if Decode(append(data, 0), new(everything)) == nil {
			t.Error("a byte too many is taken")
		}
	}
}

func TestRefused(t *testing.T) {
	for name, f := range map[string]func() error{
		"a function": func() error { _, err := Encode(&struct{ F func() }{}); return err },
		"a number that is too large": func() error {
			large := struct{ N int }{128}
			data, err := Encode(&large)
			if err != nil {
				t.Fatal(err)
			}
			return Decode(data, new(struct{ N int8 }))
		},
	} {
		if f() == nil {
			t.Errorf("%s is handed over", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	data, err := Encode(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		v := new(everything)
		if Decode(data, v) != nil {
			return
		}
		// What was taken can be handed on, and comes out the same.
		again, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		w := new(everything)
		if err := Decode(again, w); err != nil || !reflect.DeepEqual(v, w) {
			t.Errorf("%v: %+v became %+v", err, v, w)
		}
	})
}
