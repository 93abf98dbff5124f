package main

import (
	"context"
	"slices"
	"strings"
)

// A family is rows that one program measures, or one row.
type family struct {
	group, name string
	// quick says that it is among the main rows.
	quick bool
	// oci says that walls which take bundles are measured too.
	oci bool
	// bundles says that only those are.
	bundles bool
	// process says that of those Coffer's with the host's kernel is measured too.
	process bool
	// rare says that rare walls are measured too, in the first round of a whole run.
	rare bool
	// once says that one round is enough: what it measures hardly varies, and
	// takes long.
	once bool
	// prepare makes what is worked on. It may be nil.
	prepare func(ctx context.Context, b *bench) error
	// measure measures behind one wall. part is what the rows' names must
	// contain.
	measure func(ctx context.Context, b *bench, w *wall, part string) ([]sample, error)
	// part is what was asked for of it.
	part string
}

// takes reports whether f is measured behind w.
func (f *family) takes(w *wall) bool {
	if w.bundle == nil {
		return !f.bundles
	}
	return !w.oci || f.oci || f.process && w.name == processWall
}

// families are all that there are, in the table's order.
func families() []family {
	var all []family
	for _, list := range [][]family{operationFamilies(), startFamilies(), memoryFamilies(), applicationFamilies(), networkFamilies(), edgeFamilies(), scaleFamilies()} {
		all = append(all, list...)
	}
	return all
}

// commaInName stands for ", " while patterns are taken apart.
const commaInName = "\x00"

// selectFamilies keeps what patterns ask for, GROUP or GROUP/PART separated by
// commas; with quick only the main ones, unless patterns name others. A part
// that is no family's name asks for the rows of the group's families whose
// names contain it. A comma with a space behind it belongs to a name.
func selectFamilies(all []family, patterns string, quick bool) []family {
	whole := func(group, part string) bool {
		return slices.ContainsFunc(all, func(f family) bool { return f.group == group && f.name == part })
	}
	var kept []family
	for _, f := range all {
		if patterns == "" {
			if f.quick || !quick {
				kept = append(kept, f)
			}
			continue
		}
		for pattern := range strings.SplitSeq(strings.ReplaceAll(patterns, ", ", commaInName), ",") {
			group, part, _ := strings.Cut(strings.ReplaceAll(pattern, commaInName, ", "), "/")
			if group != f.group {
				continue
			}
			if f.name == "" {
				f.part = part
				kept = append(kept, f)
			} else if f.name == part || strings.Contains(f.name, part) && !whole(group, part) {
				kept = append(kept, f)
				break // once, however many patterns it matches
			}
		}
	}
	return kept
}
