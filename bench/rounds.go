package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
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
	for _, f := range families {
		if f.prepare != nil {
			if err := f.prepare(ctx, b); err != nil {
				b.progress("%s %s: %v", f.group, f.name, err)
				res.fail(failure{f.title(), "all", err.Error()})
				continue
			}
		}
		rounds := b.rounds
		if f.once {
			rounds = 1
		}
		for round := range rounds {
			b.progress("%s, round %d of %d", f.title(), round+1, rounds)
			for _, w := range walls {
				if w.missing != "" || w.oci && !f.oci || w.bundle == nil && f.bundles {
					continue
				}
				if err := b.renewScratch(); err != nil {
					return res, err
				}
				samples, err := f.measure(ctx, b, w, f.part)
				b.descendants.settle()
				if ctx.Err() != nil {
					return res, context.Cause(ctx)
				}
				res.add(w.name, samples)
				if err != nil {
					b.progress("%s behind %s: %v", f.title(), w.name, err)
					res.fail(failure{f.title(), w.name, err.Error()})
				}
			}
		}
	}
	return res, nil
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
