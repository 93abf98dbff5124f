package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// measure measures the families behind the walls. Walls that can't be are
// marked as missing; what fails is among the results' failures. The error says
// that the run was ended: the results are those so far.
func (b *bench) measure(ctx context.Context, families []family, walls []*wall) (*results, error) {
	res := newResults(nil)
	for _, w := range walls {
		b.probe(ctx, w)
		if ctx.Err() != nil {
			return res, context.Cause(ctx)
		}
		if w.missing != "" {
			b.progress("%s can't be measured: %s", w.name, w.missing)
			continue
		}
		res.walls = append(res.walls, w.name)
	}
	if b.busy {
		stop, err := b.keepBusy(ctx)
		if err != nil {
			return res, err
		}
		defer stop()
	}
	return res, b.measureRounds(ctx, res, families, walls)
}

// measureRounds measures all families in each round. Those of a row are then
// minutes apart: a time at which the host is slow meets one of them at most,
// and a run that is ended has fewer of all rows instead of none of some.
func (b *bench) measureRounds(ctx context.Context, res *results, families []family, walls []*wall) error {
	s := newSchedule(families)
	for round := range b.rounds {
		if round > 0 && b.within > 0 && time.Since(b.started)+s.rest(0) > b.within {
			b.progress("round %d would not end within %v", round+1, b.within)
			return nil
		}
		res.rounds = round + 1
		for i := range s {
			e := &s[i]
			if !e.in(round) {
				continue
			}
			b.progress("round %d of %d, %d of %d%s: %s", round+1, b.rounds, i+1, len(s), s.left(i, round, b.rounds), e.title())
			if round == 0 && e.prepare != nil {
				if err := e.prepare(ctx, b); err != nil {
					b.progress("%s: %v", e.title(), err)
					res.fail(failure{e.title(), "all", err.Error()})
					e.dropped = true
					continue
				}
			}
			begun := time.Now()
			if err := b.measureFamily(ctx, res, e.family, walls, round == 0 && e.rare && !b.quick); err != nil {
				return err
			}
			e.took = time.Since(begun)
		}
	}
	return nil
}

// measureFamily measures a family behind each of the walls once, with the rare ones or
// without. The error says that the run was ended.
func (b *bench) measureFamily(ctx context.Context, res *results, f *family, walls []*wall, rare bool) error {
	for _, w := range walls {
		if w.missing != "" || w.rare && !rare || !f.takes(w) {
			continue
		}
		if err := b.renewScratch(); err != nil {
			return err
		}
		samples, err := f.measure(ctx, b, w, f.part)
		b.descendants.settle()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		res.add(w.name, samples)
		if err != nil {
			b.progress("%s behind %s: %v", f.title(), w.name, err)
			res.fail(failure{f.title(), w.name, err.Error()})
		}
	}
	return nil
}

// title names the family for people.
func (f *family) title() string {
	if f.name == "" {
		return f.group
	}
	return f.group + ": " + f.name
}

// keepBusy keeps each processor busy with a loop until stop is called.
func (b *bench) keepBusy(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var loops []*exec.Cmd
	stop = func() {
		cancel()
		for _, loop := range loops {
			b.descendants.wait(loop)
		}
	}
	for range runtime.NumCPU() {
		loop := exec.CommandContext(ctx, filepath.Join(b.work, "busy"))
		if err := b.descendants.start(loop); err != nil {
			stop()
			return nil, err
		}
		loops = append(loops, loop)
	}
	return stop, nil
}
