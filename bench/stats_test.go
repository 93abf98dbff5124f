package main

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{nil, math.NaN()},
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		got := median(tt.values)
		if got != tt.want && !(math.IsNaN(got) && math.IsNaN(tt.want)) {
			t.Errorf("median(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
	values := []float64{2, 1}
	if median(values); values[0] != 2 {
		t.Error("median sorts what it is given")
	}
}

func TestGeomean(t *testing.T) {
	if got := geomean([]float64{0.1, 10, 1}); math.Abs(got-1) > 1e-9 {
		t.Errorf("the mean of a ratio and its inverse is %v", got)
	}
	if got := geomean([]float64{2, 8}); math.Abs(got-4) > 1e-9 {
		t.Errorf("geomean(2, 8) = %v", got)
	}
	if got := geomean(nil); !math.IsNaN(got) {
		t.Errorf("geomean() = %v", got)
	}
}
