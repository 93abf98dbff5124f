package platform

// PeakTeller is implemented by address spaces that know how much memory they
// took at most.
type PeakTeller interface {
	// PeakRSS is the largest resident set so far, in bytes.
	PeakRSS() uint64
}
