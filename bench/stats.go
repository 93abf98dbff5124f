package main

import (
	"math"
	"slices"
)

// median returns the middle of values, or NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v) / 2; len(v)%2 == 0 {
		return (v[n-1] + v[n]) / 2
	} else {
		return v[n]
	}
}

// geomean returns the geometric mean of values, all of them positive, or NaN
// if there are none. It is the right mean for ratios: that of a ratio and of
// its inverse are each other's inverse.
func geomean(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}
