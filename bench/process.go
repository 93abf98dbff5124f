package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// runMax is how long one program may run. What takes longer hangs.
const runMax = 10 * time.Minute

// A job is a program to run behind a wall.
type job struct {
	args []string
	// cwd is its working directory, / by default.
	cwd string
	// env are variables beside those that every program gets.
	env []string
	// binds are the host's directories that it may write to.
	binds []string
	// netns is the path of the network namespace that it has its network from; its
	// own, without any, by default.
	netns string
	// ports are those that it listens on, which walls without an interface in netns
	// have to be told.
	ports []string
	// held says that its standard input stays open until it is released.
	held bool
}

// An outcome is what running a program took.
type outcome struct {
	// wall is from before its start to its end, first to its first line.
	wall, first time.Duration
	// cpu is what it and all processes of its sandbox took from processors.
	cpu    time.Duration
	stdout string
	// slow is the share of system calls that took the slow way, in percent,
	// where the wall tells.
	slow float64
}

// process is a job that runs.
type process struct {
	cmd   *exec.Cmd
	start time.Time
	// input is there if it is held.
	input io.Closer
	// first is when the first line came. spoke is closed then, or when there
	// will be none, and read at the end of the output.
	first       time.Time
	spoke, read chan struct{}
	out, errors bytes.Buffer
	cancel      context.CancelFunc
	descendants *descendants
}

// start starts j behind w.
//
// Output goes through a pipe: runsc writes to a file at an offset of its own.
func (b *bench) start(ctx context.Context, w *wall, j job) (*process, error) {
	argv, err := w.argv(b, j)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, runMax)
	p := &process{spoke: make(chan struct{}), read: make(chan struct{}), cancel: cancel, descendants: b.descendants}
	p.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	p.cmd.Dir = "/"
	if w.host {
		p.cmd.Dir = j.dir()
	}
	p.cmd.Env = append(b.environ(w), j.env...)
	p.cmd.Stderr = &p.errors
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(unix.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if j.held {
		if p.input, err = p.cmd.StdinPipe(); err != nil {
			cancel()
			return nil, err
		}
	}
	p.start = time.Now()
	if err := b.descendants.start(p.cmd); err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(p.read)
		spoke := sync.OnceFunc(func() { close(p.spoke) })
		defer spoke()
		r := bufio.NewReader(pipe)
		for {
			line, err := r.ReadSlice('\n')
			if len(line) > 0 && p.first.IsZero() {
				p.first = time.Now()
				spoke()
			}
			p.out.Write(line)
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	}()
	return p, nil
}

// wait waits for p's end.
func (p *process) wait() (outcome, error) {
	defer p.cancel()
	<-p.read
	err := p.descendants.wait(p.cmd)
	o := outcome{wall: time.Since(p.start), stdout: p.out.String(), slow: slowShare(p.errors.String())}
	if !p.first.IsZero() {
		o.first = p.first.Sub(p.start)
	}
	if err != nil {
		return o, fmt.Errorf("%w%s", err, said(p.errors.String(), o.stdout))
	}
	return o, nil
}

// release ends the standard input of p, which was held, and waits for p's end.
func (p *process) release() (outcome, error) {
	p.input.Close()
	return p.wait()
}

// end ends p, which would not end by itself.
func (p *process) end() {
	p.cancel()
	p.wait()
}

// statsLine is what coffer do --stats says at the end.
var statsLine = regexp.MustCompile(`(?m)^coffer: (\d+) system calls, (\d+) of them `)

// slowShare finds in a wall's errors what share of system calls took the slow
// way, in percent; NaN if that is not told.
func slowShare(text string) float64 {
	m := statsLine.FindStringSubmatch(text)
	if m == nil {
		return math.NaN()
	}
	calls, _ := strconv.ParseFloat(m[1], 64)
	slow, _ := strconv.ParseFloat(m[2], 64)
	return 100 * slow / calls
}

// slowSamples are the row that says so, if it is told.
func (o *outcome) slowSamples(name string) []sample {
	if math.IsNaN(o.slow) {
		return nil
	}
	return []sample{{row{Group: "slow-path", Name: name, Unit: share}, o.slow}}
}

// said is the end of what a program that failed said, if it did.
func said(texts ...string) string {
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" {
			lines := strings.Split(text, "\n")
			return ": " + strings.Join(lines[max(0, len(lines)-3):], "; ")
		}
	}
	return ""
}

// run runs j behind w to its end. Nothing else may run meanwhile, but for what
// has been running before: the processors' time is that of all of our
// descendants.
func (b *bench) run(ctx context.Context, w *wall, j job) (outcome, error) {
	before := b.meter.read()
	p, err := b.start(ctx, w, j)
	if err != nil {
		return outcome{}, err
	}
	o, err := p.wait()
	o.cpu = b.meter.read() - before
	return o, err
}

// dir is the job's working directory.
func (j job) dir() string {
	if j.cwd == "" {
		return "/"
	}
	return j.cwd
}

// environ is what every program behind w finds in its environment: the same
// for all, so that nothing differs but the wall.
func (b *bench) environ(w *wall) []string {
	tmp := "/tmp"
	if w.host {
		tmp = b.scratch()
	}
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + os.Getenv("HOME"), "LANG=C.UTF-8", "TERM=dumb",
		"BENCH_TMP=" + tmp, "TMPDIR=" + tmp,
	}
}
