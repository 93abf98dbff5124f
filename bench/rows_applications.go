package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// Goals of applications: those that compute, and those that do nothing but
// system calls.
var (
	computes = []goal{{Over: "native", Max: 1.5}}
	calls    = []goal{{Over: "native", Max: 2.5}}
)

// An application is a shell command whose time is a row. $WORK is where what it
// works on is, $BENCH_TMP a directory of its own in memory.
type application struct {
	name  string
	quick bool
	goals []goal
	// before is what the shell does first, untimed.
	before string
	// command is what is timed. If there is again, it runs several times in a sandbox,
	// of which the median counts: a short one is else at the mercy of what the
	// scheduler does in the first milliseconds. again makes ready for the next time.
	command, again string
	// programs are what must be installed.
	programs []string
	// once is as a family's.
	once bool
	// prepare makes what is worked on. It may be nil.
	prepare func(ctx context.Context, b *bench) error
	// env and cwd are as a job's. bound says that cwd is the host's own, which
	// the program may write to.
	env   func() []string
	cwd   func(b *bench) string
	bound bool
}

// applications are the programs that people run.
var applications = []application{
	{name: "make -j2, 40 C files", goals: computes, prepare: makeSources, programs: []string{"make", "gcc"},
		before: "cp -r $WORK/c $BENCH_TMP/c", command: "make -s -j2 -C $BENCH_TMP/c"},
	{name: "make -j2, bound directory", goals: computes, prepare: makeSources, programs: []string{"make", "gcc"},
		cwd: func(b *bench) string { return filepath.Join(b.work, "c-bound") }, bound: true,
		before: "make -s clean", command: "make -s -j2"},
	{name: "go build of coffer", once: true, goals: computes, prepare: prepareGoBuild, programs: []string{"go"},
		env: goEnv, cwd: func(b *bench) string { return filepath.Join(b.work, "module") },
		before: "cp -r $WORK/gocache $BENCH_TMP/gocache", command: "GOCACHE=$BENCH_TMP/gocache go build -o $BENCH_TMP/coffer ./cmd/coffer"},
	{name: "git status, 10,000 files", goals: calls, prepare: makeRepository, programs: []string{"git"},
		// The first one finds other inode numbers than the index has.
		before: "git -C $WORK/repository status --porcelain", command: "git -C $WORK/repository status --porcelain", again: ":"},
	{name: "git clone, 10,000 files", goals: calls, prepare: makeRepository, programs: []string{"git"},
		command: "git clone -q --no-hardlinks $WORK/repository $BENCH_TMP/clone", again: "rm -rf $BENCH_TMP/clone"},
	{name: "find /usr", goals: calls, programs: []string{"find"},
		before: "find /usr -size +1000000k", command: "find /usr -size +1000000k"},
	{name: "tar of 20,000 files", goals: calls, prepare: makeFiles, programs: []string{"tar"},
		command: "tar -cf $BENCH_TMP/files.tar -C $WORK files", again: "rm $BENCH_TMP/files.tar"},
	{name: "untar of 20,000 files", goals: calls, prepare: makeFiles, programs: []string{"tar"},
		before: "tar -cf $BENCH_TMP/files.tar -C $WORK files && mkdir $BENCH_TMP/x", command: "tar -xf $BENCH_TMP/files.tar -C $BENCH_TMP/x", again: "rm -r $BENCH_TMP/x/files"},
	{name: "rm of 20,000 files", goals: calls, prepare: makeFiles, programs: []string{"rm"},
		before: "cp -r $WORK/files $BENCH_TMP/files", command: "rm -r $BENCH_TMP/files", again: "cp -r $WORK/files $BENCH_TMP/files"},
	{name: "sqlite3: 1,000 transactions", quick: true, goals: calls, programs: []string{"sqlite3"},
		before:  `{ echo 'create table t(a integer primary key, b text);'; for i in $(seq 1000); do echo "insert into t values($i, 'row $i');"; done; } >$BENCH_TMP/in.sql`,
		command: "sqlite3 $BENCH_TMP/db <$BENCH_TMP/in.sql", again: "rm $BENCH_TMP/db"},
	{name: "sqlite3: insert 500,000 rows", goals: computes, programs: []string{"sqlite3"},
		command: "sqlite3 $BENCH_TMP/db '" + sqliteInsert + "'", again: "rm $BENCH_TMP/db"},
	{name: "sqlite3: select", goals: computes, programs: []string{"sqlite3"},
		before:  "sqlite3 $BENCH_TMP/db '" + sqliteInsert + "'",
		command: `sqlite3 $BENCH_TMP/db 'select count(*), sum(x.a) from t x, t y where y.a = x.a * 7 % 500000 and y.b > "row 2"'`, again: ":"},
	{name: "python3: 20 starts", goals: calls, programs: []string{"python3"},
		command: "for i in $(seq 20); do python3 -c pass; done", again: ":"},
	{name: "python3: numeric loop", quick: true, goals: computes, programs: []string{"python3"},
		command: "python3 -c 'print(sum(i * i % 7 for i in range(5000000)))'", again: ":"},
	{name: "shell script that forks 1,000 times", goals: calls,
		command: "i=0; while [ $i -lt 250 ]; do /bin/true; x=$(echo $i | /bin/cat); i=$((i+1)); done"},
}

const sqliteInsert = `create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i+1 from n where i < 500000) insert into t select i, "row " || i from n;`

func applicationFamilies() []family {
	var list []family
	for _, a := range applications {
		list = append(list, family{group: "applications", name: a.name, quick: a.quick, once: a.once, prepare: a.ready,
			measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) { return a.measure(ctx, b, w) }})
	}
	return list
}

// ready prepares a.
func (a *application) ready(ctx context.Context, b *bench) error {
	if err := needs(a.programs...)(ctx, b); err != nil {
		return err
	}
	if a.prepare == nil {
		return nil
	}
	return a.prepare(ctx, b)
}

// measure runs a behind w and returns how long it took inside.
func (a *application) measure(ctx context.Context, b *bench, w *wall) ([]sample, error) {
	before := a.before
	if before == "" {
		before = ":"
	}
	j := job{
		args: []string{"/bin/sh", "-c", fmt.Sprintf(`{ %s; } >&2 && exec "$WORK/timed" "$NAME" "$AGAIN" /bin/sh -c "$COMMAND"`, before)},
		env:  []string{"WORK=" + b.work, "NAME=" + a.name, "COMMAND=" + a.command, "AGAIN=" + a.again, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1"},
	}
	if a.env != nil {
		j.env = append(j.env, a.env()...)
	}
	if a.cwd != nil {
		j.cwd = a.cwd(b)
	}
	if a.bound {
		j.binds = []string{j.cwd}
	}
	o, err := b.run(ctx, w, j)
	if err != nil {
		return nil, err
	}
	samples, err := guestSamples(o.stdout, func(_, name string) row {
		return row{Group: "applications", Name: name, Unit: nanoseconds, Goals: a.goals}
	})
	return append(samples, o.slowSamples(a.name)...), err
}
