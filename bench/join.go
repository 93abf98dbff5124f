package main

import "fmt"

// joined is the report of several runs' rounds, which are of the same coffer, on the same host. Rounds
// that are an hour apart meet more of a host's phases than those of one run.
func joined(paths []string) (*report, error) {
	res := newResults(nil)
	var first *report
	walls := make(map[string]*wall)
	var order []*wall
	for _, path := range paths {
		r, err := readReport(path)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = r
		}
		if err := sameWork(first, r); err != nil {
			return nil, fmt.Errorf("%s does not go together with %s: %w", path, paths[0], err)
		}
		first.Date = r.Date
		res.rounds += r.Rounds
		for _, w := range r.Walls {
			if walls[w.Name] == nil {
				walls[w.Name] = &wall{name: w.Name, missing: w.Missing}
				order = append(order, walls[w.Name])
				res.walls = append(res.walls, w.Name)
			} else if w.Missing == "" {
				walls[w.Name].missing = ""
			}
		}
		for _, row := range r.Rows {
			for wall, v := range row.Values {
				for _, s := range v.Samples {
					res.add(wall, []sample{{row.row, s}})
				}
			}
		}
		for _, f := range r.Failures {
			res.fail(f)
		}
	}
	all := newReport(options{quick: first.Quick, busy: first.Busy}, res, order)
	all.Date, all.Coffer, all.Host = first.Date, first.Coffer, first.Host
	return all, nil
}

// sameWork is an error if two runs measured different things.
func sameWork(a, b *report) error {
	switch {
	case a.Coffer != b.Coffer:
		return fmt.Errorf("they measured different builds of coffer")
	case a.Host.Kernel != b.Host.Kernel || a.Host.CPU != b.Host.CPU || a.Host.CPUs != b.Host.CPUs:
		return fmt.Errorf("they were on different hosts")
	case a.Quick != b.Quick || a.Busy != b.Busy:
		return fmt.Errorf("one was with --quick or --busy, the other not")
	}
	return nil
}
