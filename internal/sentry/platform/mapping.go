package platform

// Mapping is what the owner of an address space tells the platform of one of
// its mappings: [Start, End), unix.PROT_*, and whether it is MAP_PRIVATE.
type Mapping struct {
	Start, End uint64
	Prot       int32
	Private    bool
}

// MappingUser is implemented by address spaces that can do more if they know
// the guest's mappings: Poke, which puts a protection back, and rewriting of
// code, which must not be writable or shared. f is called from within the
// address space's and its contexts' methods, so it must not call them.
type MappingUser interface {
	SetMappings(f func(addr uint64) (Mapping, bool))
}

// Reserver is implemented by address spaces that put code of the platform's
// own near the guest's: f finds and keeps size bytes within reach of a 32-bit
// displacement from near, that are neither shown nor given to the guest. It is
// called from within Switch only, with no lock of the platform's held.
type Reserver interface {
	SetReserver(f func(near, size uint64) (addr uint64, ok bool))
}
