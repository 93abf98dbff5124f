package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startFamilies are how long it takes to start: a program that does nothing, in
// one sandbox and in many at once, and the first line of larger ones.
func startFamilies() []family {
	list := []family{{group: "start", name: "true", quick: true, oci: true,
		measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
			return b.startMany(ctx, w, 1, goal{Over: "runsc systrap", Max: 0.33}, processGoal)
		}}, {group: "start", name: "create, start, delete", quick: true, oci: true, bundles: true, measure: measureLife}}
	for _, n := range []int{8, 64} {
		list = append(list, family{group: "start", name: fmt.Sprintf("true, %d at once", n), oci: true,
			measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
				return b.startMany(ctx, w, n)
			}})
	}
	for _, p := range []struct {
		name string
		args []string
	}{
		{"python3", []string{"python3", "-c", "print('here')"}},
		{"node", []string{"node", "-e", "console.log('here')"}},
		{"java", []string{"java", "--version"}},
	} {
		name := "first line of " + p.name
		list = append(list, family{group: "start", name: name, quick: p.name == "python3", prepare: needs(p.name),
			measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
				o, err := b.run(ctx, w, job{args: p.args})
				if err == nil && o.first == 0 {
					err = errors.New("it printed nothing")
				}
				if err != nil {
					return nil, err
				}
				return []sample{{row{Group: "start", Name: name, Unit: nanoseconds}, float64(o.first)}}, nil
			}})
	}
	return list
}

// processWall is coffer with the host's kernel as the wall, and processGoal how
// soon its containers start.
const processWall = "coffer process"

var processGoal = goal{Wall: processWall, Over: "runc", Max: 0.6}

// measureLife creates, starts and deletes a container, by three commands as
// engines do.
func measureLife(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
	made, err := w.bundle(b, job{args: []string{"/bin/true"}})
	if err != nil {
		return nil, err
	}
	// A pipe would stay open in the container.
	log, err := os.Create(filepath.Join(made.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	before := b.meter.read()
	begin := time.Now()
	for _, args := range [][]string{{"create", "--bundle", made.dir, made.id}, {"start", made.id}, {"delete", "--force", made.id}} {
		argv := made.command(args...)
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", b.environ(w), log, log
		if err := b.descendants.start(cmd); err != nil {
			return nil, err
		}
		if err := b.descendants.wait(cmd); err != nil {
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("%s: %w%s", args[0], err, said(string(text), ""))
		}
	}
	took := time.Since(begin)
	b.descendants.settle()
	const name = "create, start, delete"
	return []sample{
		{row{Group: "start", Name: name, Unit: nanoseconds, Goals: []goal{processGoal}}, float64(took)},
		{row{Group: "start", Name: name + ": CPU time", Unit: nanoseconds}, float64(b.meter.read() - before)},
	}, nil
}

// startMany runs n sandboxes at once and measures the time until all have
// ended, and the processors' time that each took.
func (b *bench) startMany(ctx context.Context, w *wall, n int, goals ...goal) ([]sample, error) {
	name := "true"
	if n > 1 {
		name = fmt.Sprintf("true, %d at once", n)
	}
	before := b.meter.read()
	type result struct {
		outcome
		error
	}
	done := make(chan result, n)
	for range n {
		p, err := b.start(ctx, w, job{args: []string{"/bin/true"}})
		if err != nil {
			return nil, err
		}
		go func() {
			o, err := p.wait()
			done <- result{o, err}
		}()
	}
	var longest float64
	var failed error
	for range n {
		r := <-done
		longest = max(longest, float64(r.wall))
		if r.error != nil {
			failed = r.error
		}
	}
	if failed != nil {
		return nil, failed
	}
	b.descendants.settle()
	cpu := float64(b.meter.read()-before) / float64(n)
	return []sample{
		{row{Group: "start", Name: name, Unit: nanoseconds, Goals: goals}, longest},
		{row{Group: "start", Name: name + ": CPU time of each", Unit: nanoseconds}, cpu},
	}, nil
}

// needs is the preparation of a family that needs these programs.
func needs(programs ...string) func(context.Context, *bench) error {
	return func(context.Context, *bench) error {
		var missing []string
		for _, p := range programs {
			if _, err := exec.LookPath(p); err != nil {
				missing = append(missing, p)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("not installed: %s", strings.Join(missing, ", "))
		}
		return nil
	}
}
