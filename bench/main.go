// Command bench measures what Coffer's walls cost, beside the host itself and
// the peers that it can get, on the same work in one run.
//
// Each row belongs to a family. A round measures all families, each behind all
// walls one after another, so that a change of the host's load meets all of
// them. The table has the medians of the rounds, and ratios of medians.
// docs/performance.md says what each row is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// options are what the command line says.
type options struct {
	coffer     string
	bin        string
	rows       string
	walls      string
	format     string
	json       string
	svg        string
	join       string
	rounds     int
	within     time.Duration
	quick      bool
	busy       bool
	list       bool
	updateDocs bool
}

func parseOptions() options {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "the directory of coffer, the peers and what is built for the measurements")
	flag.StringVar(&o.coffer, "coffer", "", "the coffer to measure (default: the one in --bin)")
	flag.StringVar(&o.rows, "rows", "", "only these rows: GROUP, GROUP/NAME or GROUP/PART-OF-NAME, separated by commas without spaces")
	flag.StringVar(&o.walls, "walls", "", "only these walls: whole names or first words, comma-separated, as in native,coffer (default: all, those of ptrace only for operations and once)")
	flag.StringVar(&o.format, "format", "table", "what to print: table or json")
	flag.StringVar(&o.json, "json", "", "write the results as JSON to this file too")
	flag.StringVar(&o.svg, "svg", "", "write a plot of the ratios to this file too")
	flag.StringVar(&o.join, "join", "", "put the rounds of these files together, which --json wrote in runs with the same coffer on this host, comma-separated, and measure nothing")
	flag.IntVar(&o.rounds, "rounds", 0, "how many rounds (default 3)")
	flag.DurationVar(&o.within, "within", 0, "begin no round that would not end within this time of the run's start, as in 35m")
	flag.BoolVar(&o.quick, "quick", false, "the main rows only, with less work")
	flag.BoolVar(&o.busy, "busy", false, "keep every processor busy with a loop beside the measurements")
	flag.BoolVar(&o.list, "list", false, "list the families of rows and the walls, and measure nothing")
	flag.BoolVar(&o.updateDocs, "update-docs", false, "put the numbers of bin/bench.json into docs/performance.md, and measure nothing")
	flag.Parse()
	if o.rounds <= 0 {
		o.rounds = 3
	}
	if o.coffer == "" {
		o.coffer = filepath.Join(o.bin, "coffer")
	}
	return o
}

func main() {
	if err := do(parseOptions()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func do(o options) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is not expected: see --help", flag.Arg(0))
	}
	if o.format != "table" && o.format != "json" {
		return fmt.Errorf("--format is table or json, not %q", o.format)
	}
	if o.updateDocs {
		return updateDocs(filepath.Join(o.bin, "bench.json"), "docs/performance.md")
	}
	if o.join != "" {
		r, err := joined(strings.Split(o.join, ","))
		if err != nil {
			return err
		}
		return write(o, r)
	}
	var err error
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	if o.coffer, err = filepath.Abs(o.coffer); err != nil {
		return err
	}
	selected := selectFamilies(families(), o.rows, o.quick)
	if len(selected) == 0 {
		return fmt.Errorf("no rows match %q: --list shows those that there are", o.rows)
	}
	if o.list {
		for _, f := range selected {
			fmt.Println(f.group + "/" + f.name)
		}
		fmt.Println("walls:", wallNames(allWalls(o.bin, o.coffer)))
		return nil
	}
	walls, err := selectWalls(allWalls(o.bin, o.coffer), o.walls)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	res, err := b.measure(ctx, selected, walls)
	err = errors.Join(err, b.close())
	if len(res.rows) == 0 && err != nil {
		return err
	}
	// What was measured before a run was ended took long to measure.
	return errors.Join(err, write(o, newReport(o, res, walls)))
}

// write prints the report and writes it where o says.
func write(o options, r *report) error {
	if o.json != "" {
		if err := os.WriteFile(o.json, r.json(), 0o644); err != nil {
			return err
		}
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, r.plot(), 0o644); err != nil {
			return err
		}
	}
	text := r.table()
	if o.format == "json" {
		text = string(r.json())
	}
	_, err := fmt.Print(text)
	return err
}

// bench is a run.
type bench struct {
	options
	*descendants
	meter *meter
	// tmp is the run's own directory, in memory if the host has such, and owner says that the run lives.
	tmp   string
	owner *os.File
	// project is this module's directory.
	project string
	// work is where what is worked on stays from run to run.
	work    string
	bundles int
	started time.Time
}

func newBench(ctx context.Context, o options) (*bench, error) {
	var err error
	if strings.HasPrefix(o.bin, "/tmp/") {
		return nil, fmt.Errorf("%s is beneath /tmp, where sandboxes don't see it: they have a /tmp of their own", o.bin)
	}
	if !exists(o.coffer) {
		return nil, fmt.Errorf("there is no %s: make build makes it", o.coffer)
	}
	// The system's programs come before wrappers that a user may have.
	if err := os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH")); err != nil {
		return nil, err
	}
	b := &bench{options: o, work: filepath.Join(o.bin, "bench"), started: time.Now()}
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return nil, err
	}
	if err := buildGuests(ctx, b.work); err != nil {
		return nil, err
	}
	if b.project, err = os.Getwd(); err != nil {
		return nil, err
	}
	if b.descendants, err = adopt(); err != nil {
		return nil, err
	}
	parent := memoryDir()
	if err := removeLeftovers(parent); err != nil {
		return nil, err
	}
	if b.tmp, err = os.MkdirTemp(parent, tempPrefix); err != nil {
		return nil, err
	}
	if b.owner, err = own(b.tmp); err != nil {
		return nil, err
	}
	b.meter = newMeter()
	if _, err = b.owner.WriteString(strings.Join(b.meter.groups(), "\n")); err != nil {
		return nil, err
	}
	return b, nil
}

// memoryDir is a directory in memory, which is what sandboxes have at /tmp, if
// the host has one that is large enough.
func memoryDir() string {
	const enough = 1 << 30
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) == nil && st.Type == unix.TMPFS_MAGIC && st.Bavail*uint64(st.Bsize) >= enough {
		return "/dev/shm"
	}
	return os.TempDir()
}

// close ends and removes all that the run has made, but for what it worked on.
func (b *bench) close() error {
	b.killAll()
	if err := unmountShared(b.tmp); err != nil {
		return err
	}
	return errors.Join(b.descendants.guard.release(), b.meter.close(), os.RemoveAll(b.tmp), b.owner.Close())
}

// scratch is where a program that runs natively has its temporary files.
func (b *bench) scratch() string { return filepath.Join(b.tmp, "scratch") }

// renewScratch empties scratch.
func (b *bench) renewScratch() error {
	return errors.Join(os.RemoveAll(b.scratch()), os.Mkdir(b.scratch(), 0o755))
}

// progress says on standard error what is being done.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(b.started).Seconds(), fmt.Sprintf(format, args...))
}
