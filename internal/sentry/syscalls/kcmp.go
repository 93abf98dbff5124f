package syscalls

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"unsafe"
)

// kcmpSecret hides addresses from the guest while it keeps an order, as
// Linux's kptr_obfuscate does.
var kcmpSecret = sync.OnceValue(func() (s [2]uint64) {
	var b [16]byte
	rand.Read(b[:])
	s[0] = binary.NativeEndian.Uint64(b[:])
	s[1] = binary.NativeEndian.Uint64(b[8:]) | 1 // odd, so that it has an inverse
	return s
})

// compare is kcmp(2)'s result for two objects: 0 if they are the same one,
// else 1 or 2 for an order that stays as long as both exist.
func compare[T any](a, b *T) uintptr {
	if a == b {
		return 0
	}
	s := kcmpSecret()
	x := (uint64(uintptr(unsafe.Pointer(a))) ^ s[0]) * s[1]
	y := (uint64(uintptr(unsafe.Pointer(b))) ^ s[0]) * s[1]
	if x < y {
		return 1
	}
	return 2
}
