// Package handover writes down what one process of this program tells another one, of the same
// executable, when it starts it. It is CBOR (RFC 8949), and not JSON: encoding/json meets each type with
// all types of its fields first, those of fields that are not set included, for which who has just begun
// takes up to 2 ms; and JSON has no strings that are not UTF-8, as names of files may be.
//
// It must import nothing of ours.
package handover

import (
	"math"

	"github.com/fxamacker/cbor/v2"
)

var encoding = must(cbor.EncOptions{
	Time:          cbor.TimeRFC3339NanoUTC,
	TextMarshaler: cbor.TextMarshalerTextString,
}.EncMode())

// The limits are not those of hostile input: who wrote it has started this process.
var decoding = must(cbor.DecOptions{
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	MaxArrayElements:  math.MaxInt32,
	MaxMapPairs:       math.MaxInt32,
	TextUnmarshaler:   cbor.TextUnmarshalerTextString,
	UTF8:              cbor.UTF8DecodeInvalid,
}.DecMode())

func must[M any](mode M, err error) M {
	if err != nil {
		panic(err)
	}
	return mode
}

// Encode returns what Decode makes a value like *v of. A nil slice or map stays nil. What has types
// that cannot be handed over, as functions, is an error.
func Encode[T any](v *T) ([]byte, error) { return encoding.Marshal(v) }

// Decode sets *v, which is zero, to what was encoded.
func Decode[T any](data []byte, v *T) error { return decoding.Unmarshal(data, v) }
