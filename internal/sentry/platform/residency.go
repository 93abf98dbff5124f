package platform

// Residency is implemented by contexts that know which of the guest's pages
// are in memory: without it all that is mapped counts as such.
type Residency interface {
	// Resident sets vec[i] to 1 if the i-th page from addr is in memory, else
	// to 0, as mincore(2) does. addr is page-aligned. ENOMEM if not all pages
	// are mapped; vec is undefined then.
	Resident(addr uint64, vec []byte) error
}
