package syscalls

import (
	"fmt"
	"slices"
	"strings"
)

// Filter selects the calls that a Tracer shows. The zero value passes all.
type Filter struct {
	// pass is nil for all calls; the last element is for unknown numbers.
	pass *[tableSize + 1]bool
	// errorsOnly leaves out calls that succeed.
	errorsOnly bool
}

func (f *Filter) passes(nr uint64) bool {
	return f.pass == nil || f.pass[min(nr, tableSize)]
}

// The groups that --trace-filter knows beyond those of the families, by a
// property of the row.
var derivedGroups = []struct {
	name  string
	holds func(*Row) bool
}{
	// As strace's %file and %desc: calls that take a path, or a descriptor.
	{"file", func(r *Row) bool { return r.takes(PathStr) }},
	{"desc", func(r *Row) bool { return r.takes(FD) || r.takes(DirFD) || r.Result == FD }},
	{"missing", func(r *Row) bool { return r.Fn == nil }},
	{"partial", func(r *Row) bool { return r.Support == Partial }},
}

func (r *Row) takes(k Kind) bool {
	return slices.ContainsFunc(r.Params, func(p Param) bool { return p.Kind == k })
}

// NewFilter reads the expression of --trace-filter: words with commas between
// them, of which each adds calls, or takes them away if it begins with "!".
//
//	openat,close      these calls
//	@file,!stat       a group of calls but one
//	!futex            all but one: the first word decides what is there at first
//	error,@network    only calls that fail
//
// The groups are desc, file, ipc, memory, missing, network, partial, process,
// signal, system and time. An unknown word is an error that tells what was
// probably meant.
func (tb *Table) NewFilter(expr string) (Filter, error) {
	var f Filter
	if strings.TrimSpace(expr) == "" {
		return f, nil
	}
	var pass [tableSize + 1]bool
	selected := false
	for word := range strings.SplitSeq(expr, ",") {
		word = strings.TrimSpace(word)
		if word == "error" {
			f.errorsOnly = true
			continue
		}
		name, negated := strings.CutPrefix(word, "!")
		if !selected && negated {
			for i := range pass {
				pass[i] = true
			}
		}
		selected = true
		if err := tb.setFilter(&pass, name, !negated); err != nil {
			return Filter{}, err
		}
	}
	if selected {
		f.pass = &pass
	}
	return f, nil
}

// setFilter sets the elements of all calls that one word names.
func (tb *Table) setFilter(pass *[tableSize + 1]bool, word string, to bool) error {
	group, isGroup := strings.CutPrefix(word, "@")
	found := false
	for nr, r := range tb.rows {
		if r == nil {
			continue
		}
		match := r.Name == word
		if isGroup {
			match = tb.inGroup(uint64(nr), r, group)
		}
		if match {
			pass[nr] = to
			found = true
		}
	}
	if isGroup && group == "missing" {
		pass[tableSize] = to
		found = true
	}
	if found {
		return nil
	}
	kind, known := "system call", tb.names()
	if isGroup {
		kind, known, word = "group", tb.groupNames(), group
	}
	if near := nearest(word, known); near != "" {
		return fmt.Errorf("there is no %s %q; did you mean %q?", kind, word, near)
	}
	if isGroup {
		return fmt.Errorf("there is no group %q; the groups are %s", word, strings.Join(known, ", "))
	}
	return fmt.Errorf("there is no system call %q; use a name from docs/syscalls.md, or a group such as @file", word)
}

func (tb *Table) inGroup(nr uint64, r *Row, group string) bool {
	if tb.groups[nr] == group {
		return true
	}
	for _, d := range derivedGroups {
		if d.name == group {
			return d.holds(r)
		}
	}
	return false
}

func (tb *Table) names() []string {
	var names []string
	for _, r := range tb.Rows() {
		names = append(names, r.Name)
	}
	return names
}

func (tb *Table) groupNames() []string {
	var names []string
	for _, g := range tb.groups {
		if g != "" {
			names = append(names, g)
		}
	}
	for _, d := range derivedGroups {
		names = append(names, d.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// nearest returns the name that takes the fewest edits to become from word, or
// "" if none is near.
func nearest(word string, names []string) string {
	best, bestDistance := "", min(max(1, len(word)/2), 3)+1
	for _, n := range names {
		if d := editDistance(word, n); d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions and replacements between two
// words (Levenshtein's distance).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
