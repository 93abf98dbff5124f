// Command conformance runs opencontainers/runtime-tools' validation suite
// against OCI runtimes, and says which of its programs find nothing to
// complain of, and whether those are the ones that are known to.
// docs/conformance.md has the table, and the reasons.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coffer/test/room"
)

func main() {
	room.Main()
	var err error
	if len(os.Args) == 3 && os.Args[1] == roleInside {
		err = runSuite(os.Args[2])
	} else {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// roleInside is the role in which this program runs itself in a room.
const roleInside = "inside-room"

// job is what is done with one runtime inside the room.
type job struct {
	// Runtime is the program, and Suite the directory of the suite's.
	Runtime, Suite string
	Programs       []string
	// Report is the file for the outcomes, Logs the directory for what the
	// programs printed.
	Report, Logs string
	// Tmp is an empty directory for what runtimes and programs write.
	Tmp     string
	Limit   time.Duration
	Verbose bool
}

// outcome is what came of one program.
type outcome struct {
	Passed    bool
	Complaint string
}

func run() error {
	suite := flag.String("suite", "bin/conformance", "`directory` of the suite's programs, as scripts/conformance-deps builds them")
	known := flag.String("known", "test/conformance/known", "`directory` with a file for each runtime that lists the programs known to fail")
	only := flag.String("programs", "", "run only these `names`, separated by commas")
	logs := flag.String("logs", "", "keep what the programs print in this `directory`, one below it for each runtime")
	docs := flag.String("docs", "", "put the table into this `file`")
	limit := flag.Duration("limit", 2*time.Minute, "how long one program may take")
	verbose := flag.Bool("verbose", false, "show each program's outcome as it ends")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: conformance [flags] RUNTIME...\n\nA runtime's file name is its column's name and says which file of known failures is its own.")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		return errors.New("which runtimes?")
	}
	if os.Geteuid() != 0 {
		return errors.New("the suite's programs make cgroups, devices and namespaces: run it as root")
	}
	programs, err := suitePrograms(*suite, *only)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	// Containers with user namespaces of their own go through it.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if *logs == "" {
		*logs = filepath.Join(tmp, "logs")
	}
	t := table{programs: programs}
	for _, runtime := range flag.Args() {
		path, err := exec.LookPath(runtime)
		if err != nil {
			return fmt.Errorf("finding the runtime %s: %w", runtime, err)
		}
		name := filepath.Base(path)
		j := job{Programs: programs, Report: filepath.Join(*logs, name+".json"), Logs: filepath.Join(*logs, name),
			Tmp: filepath.Join(tmp, name), Limit: *limit, Verbose: *verbose}
		if j.Runtime, err = filepath.Abs(path); err != nil {
			return err
		}
		if j.Suite, err = filepath.Abs(*suite); err != nil {
			return err
		}
		outcomes, err := validate(j)
		if err != nil {
			return fmt.Errorf("validating %s: %w", name, err)
		}
		list, err := readKnown(filepath.Join(*known, name+".txt"))
		if err != nil {
			return err
		}
		t.columns = append(t.columns, column{name: name, version: version(path), outcomes: outcomes, known: list})
	}
	t.print(os.Stdout)
	if *docs != "" {
		if err := t.update(*docs); err != nil {
			return err
		}
	}
	return t.verdict()
}

// suitePrograms lists the suite's programs, or those of them that are asked for.
func suitePrograms(dir, only string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for the suite, which scripts/conformance-deps builds: %w", err)
	}
	var all []string
	for _, e := range entries {
		// runtimetest is what the programs run inside a container.
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && e.Name() != "runtimetest" {
			all = append(all, e.Name())
		}
	}
	if only == "" {
		return all, nil
	}
	list := strings.Split(only, ",")
	for _, name := range list {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("the suite has no program %q: it has %s", name, strings.Join(all, ", "))
		}
	}
	return list, nil
}

// validate runs the suite's programs against a runtime in a room of its own:
// they mount, make cgroups of fixed names, and leave containers behind where
// they fail.
func validate(j job) (outcomes map[string]outcome, err error) {
	for _, dir := range []string{j.Logs, j.Tmp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	description, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	// crun refuses hosts that have controllers in both versions of cgroups,
	// though the suite needs none of those in version 2.
	o := room.Options{Tmp: j.Tmp, HideV2: filepath.Base(j.Runtime) == "crun"}
	code, err := room.Run(o, roleInside, string(description))
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, errors.New("the suite could not be run: see above")
	}
	b, err := os.ReadFile(j.Report)
	if err != nil {
		return nil, err
	}
	return outcomes, json.Unmarshal(b, &outcomes)
}

// runSuite runs the programs inside a room.
func runSuite(description string) error {
	var j job
	if err := json.Unmarshal([]byte(description), &j); err != nil {
		return err
	}
	env := []string{"RUNTIME=" + j.Runtime, "TMPDIR=" + j.Tmp, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	outcomes := map[string]outcome{}
	for _, name := range j.Programs {
		log, err := os.Create(filepath.Join(j.Logs, name+".tap"))
		if err != nil {
			return err
		}
		started := time.Now()
		ended, err := runProgram(filepath.Join(j.Suite, name), j.Suite, env, log, j.Limit)
		if err != nil {
			return err
		}
		room.KillOthers()
		if _, err := log.Seek(0, 0); err != nil {
			return err
		}
		r, err := parseTAP(log)
		if err != nil {
			return err
		}
		log.Close()
		if r.broken == "" && ended != "" {
			r.broken = ended
		}
		outcomes[name] = outcome{Passed: r.ok(), Complaint: r.complaint()}
		if j.Verbose {
			fmt.Printf("%-36s %-6s %5.1fs  %s\n", name, word(r.ok()), time.Since(started).Seconds(), r.complaint())
		}
	}
	b, err := json.Marshal(outcomes)
	if err != nil {
		return err
	}
	return os.WriteFile(j.Report, b, 0o644)
}

// runProgram runs one program of the suite, writing what it prints to log, and
// says how it ended, unless with exit code 0. One that takes longer than limit
// is killed.
func runProgram(path, dir string, env []string, log *os.File, limit time.Duration) (ended string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, log, log
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Sprintf("it had not ended after %v", limit), nil
	case errors.As(err, &exit):
		return "it ended with " + exit.String(), nil
	}
	return "", err
}

// version is the first line of what a runtime says about its version.
func version(path string) string {
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func word(ok bool) string {
	if ok {
		return "passes"
	}
	return "fails"
}
