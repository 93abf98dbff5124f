// Command fuzzcorpus adds to the committed corpora of fuzz targets, which every run of
// the tests tries, what make fuzz has found and reaches statements that nothing
// committed does:
//
//	make fuzz FUZZTIME=300000x
//	go run ./internal/tools/fuzzcorpus ./internal/... ./test/...
package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// longest is how large an input may be that is committed.
const longest = 8 << 10

func main() {
	if err := run(os.Args[1:]); err != nil {
		os.Stderr.WriteString("fuzzcorpus: " + err.Error() + "\n")
		os.Exit(1)
	}
}

func run(patterns []string) error {
	cache, err := output("go", "env", "GOCACHE")
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "fuzzcorpus")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	packages, err := output(append([]string{"go", "list", "-f", "{{.ImportPath}} {{.Dir}}"}, patterns...)...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(packages) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		targets, err := targetsIn(dir)
		if err != nil {
			return err
		}
		for _, t := range targets {
			found := filepath.Join(strings.TrimSpace(cache), "fuzz", path, t)
			if _, err := os.Stat(found); err != nil {
				continue
			}
			if err := (&target{name: t, path: path, dir: dir, scratch: scratch}).add(found); err != nil {
				return fmt.Errorf("%s of %s: %w", t, path, err)
			}
		}
	}
	return nil
}

var fuzzFunction = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// targetsIn lists the fuzz targets in a directory.
func targetsIn(dir string) (list []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for _, m := range fuzzFunction.FindAllSubmatch(text, -1) {
			list = append(list, string(m[1]))
		}
	}
	return list, nil
}

type target struct {
	name, path, dir, scratch string
	program                  string
	reached                  map[string]bool
}

// add keeps those inputs in a directory that reach something new, small ones first.
func (t *target) add(found string) error {
	t.program = filepath.Join(t.scratch, strings.ReplaceAll(t.path, "/", "_"))
	if _, err := os.Stat(t.program); err != nil {
		if _, err := output("go", "test", "-c", "-covermode=set", "-coverpkg=coffer/...", "-o", t.program, t.path); err != nil {
			return err
		}
	}
	t.reached = make(map[string]bool)
	if _, err := t.reaches("^" + t.name + "$"); err != nil {
		return err
	}
	inputs, err := os.ReadDir(found)
	if err != nil {
		return err
	}
	size := make(map[string]int64)
	for _, e := range inputs {
		if st, err := e.Info(); err == nil {
			size[e.Name()] = st.Size()
		}
	}
	slices.SortStableFunc(inputs, func(a, b os.DirEntry) int { return cmp.Compare(size[a.Name()], size[b.Name()]) })
	corpus := filepath.Join(t.dir, "testdata", "fuzz", t.name)
	if err := os.MkdirAll(corpus, 0o755); err != nil {
		return err
	}
	kept := 0
	for _, e := range inputs {
		name := filepath.Join(corpus, e.Name())
		if _, err := os.Stat(name); err == nil || size[e.Name()] > longest {
			continue
		}
		data, err := os.ReadFile(filepath.Join(found, e.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return err
		}
		news, err := t.reaches("^" + t.name + "$/^" + e.Name() + "$")
		if err != nil {
			return err
		}
		if !news {
			if err := os.Remove(name); err != nil {
				return err
			}
			continue
		}
		kept++
	}
	for d := corpus; d != t.dir; d = filepath.Dir(d) {
		os.Remove(d) // if nothing is in it
	}
	fmt.Printf("%s %s: %d of %d inputs kept\n", t.path, t.name, kept, len(inputs))
	return nil
}

// reaches runs inputs, and reports whether they reach a statement that none has before.
func (t *target) reaches(inputs string) (news bool, err error) {
	profile := filepath.Join(t.scratch, "profile")
	cmd := exec.Command(t.program, "-test.run", inputs, "-test.coverprofile", profile)
	cmd.Dir = t.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return false, fmt.Errorf("%s: %w:\n%s", inputs, err, out)
	}
	text, err := os.ReadFile(profile)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		if block, ok := strings.CutSuffix(strings.TrimSpace(line), " 1"); ok && !t.reached[block] {
			t.reached[block], news = true, true
		}
	}
	return news, nil
}

func output(argv ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w:\n%s", strings.Join(argv, " "), err, &stderr)
	}
	return string(out), nil
}
