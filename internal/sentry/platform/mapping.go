package platform

// Mapping is what the owner of an address space tells the platform of one of
// its mappings: [Start, End), unix.PROT_*, and whether it is MAP_PRIVATE.
type Mapping struct {
	Start, End uint64
	Prot       int32
	Private    bool
}
