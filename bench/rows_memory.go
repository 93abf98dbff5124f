package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// restTime is how long a sandbox has to come to rest.
	restTime = time.Second
	// idleTime is how long its idle time is watched.
	idleTime = 30 * time.Second
	// crowd is how many sandboxes are many.
	crowd = 100
)

// memoryFamilies are what idle sandboxes keep of the host's memory and
// processors. What is shared between processes counts in shares.
func memoryFamilies() []family {
	const group = "memory"
	return []family{
		{group: group, name: "idle", quick: true, oci: true, measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
			return b.idle(ctx, w, 0, row{Group: group, Name: "idle", Unit: byteCount, Goals: []goal{{Max: 15e6}}})
		}},
		{group: group, name: "idle after 1 GiB was freed", measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
			return b.idle(ctx, w, 1<<30, row{Group: group, Name: "idle after 1 GiB was freed", Unit: byteCount})
		}},
		{group: group, name: fmt.Sprintf("each of %d", crowd), once: true, measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
			return b.crowd(ctx, w, row{Group: group, Name: fmt.Sprintf("each of %d idle", crowd), Unit: byteCount})
		}},
		{group: group, name: "idle CPU time", once: true, measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
			return b.idleProcessor(ctx, w, row{Group: group, Name: "idle CPU time", Unit: share, Goals: []goal{{Max: 0.03}}})
		}},
	}
}

// startIdle starts a sandbox whose program frees memory and then is idle, and
// waits until it is.
func (b *bench) startIdle(ctx context.Context, w *wall, freed int) (*process, error) {
	p, err := b.start(ctx, w, job{args: []string{filepath.Join(b.work, "memory"), strconv.Itoa(freed)}, held: true})
	if err != nil {
		return nil, err
	}
	<-p.spoke
	if p.first.IsZero() {
		_, err := p.wait()
		return nil, errors.Join(errors.New("it ended instead of being idle"), err)
	}
	return p, nil
}

// idle measures the memory of one sandbox, with the process that waits for it
// and without.
func (b *bench) idle(ctx context.Context, w *wall, freed int, r row) ([]sample, error) {
	before := b.descendants.children()
	p, err := b.startIdle(ctx, w, freed)
	if err != nil {
		return nil, err
	}
	defer p.release()
	rest(ctx, restTime)
	pids := b.descendants.tree(before)
	all, err := memory(pids)
	if err != nil {
		return nil, err
	}
	waiting, err := memory([]int{p.cmd.Process.Pid})
	if err != nil {
		return nil, err
	}
	samples := []sample{{r, all}}
	if len(pids) > 1 {
		r.Name += ", without the waiting command"
		samples = append(samples, sample{r, all - waiting})
	}
	return samples, nil
}

// crowd measures the memory of each of many sandboxes at once.
func (b *bench) crowd(ctx context.Context, w *wall, r row) ([]sample, error) {
	before := b.descendants.children()
	for range crowd {
		p, err := b.startIdle(ctx, w, 0)
		if err != nil {
			return nil, err
		}
		defer p.release()
	}
	rest(ctx, restTime)
	all, err := memory(b.descendants.tree(before))
	return []sample{{r, all / crowd}}, err
}

// idleProcessor measures the processors' time of an idle sandbox.
func (b *bench) idleProcessor(ctx context.Context, w *wall, r row) ([]sample, error) {
	before := b.descendants.children()
	p, err := b.startIdle(ctx, w, 0)
	if err != nil {
		return nil, err
	}
	defer p.release()
	rest(ctx, 3*restTime)
	pids := b.descendants.tree(before)
	from, err1 := processorTime(pids)
	start := time.Now()
	rest(ctx, idleTime)
	to, err2 := processorTime(pids)
	return []sample{{r, 100 * float64(to-from) / float64(time.Since(start))}}, errors.Join(err1, err2)
}

// rest waits for d, or until ctx is done.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
