// Package internal_test holds the code to the floors of ARCHITECTURE.md.
package internal_test

import (
	"bufio"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "coffer/"

// floor is a line of the map: packages, each with those in directories below it.
type floor []string

// readFloors reads the floors, the highest first. What is indented beneath a line
// belongs to its directory, and lies above the package of that directory itself:
// that is what its parts have in common.
func readFloors(t *testing.T) []floor {
	t.Helper()
	f, err := os.Open("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var floors []floor
	var head floor
	parted := false // head has parts beneath it
	end := func() {
		// A directory that has only parts is no floor itself.
		if len(head) > 0 && (!parted || hasCode(t, head[0])) {
			floors = append(floors, head)
		}
		head, parted = nil, false
	}
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "## ") {
			inside = line == "## Floors"
		}
		if !inside {
			continue
		}
		const indented, part = "    ", "      |   "
		names := func(s string) (list floor) {
			s, _, _ = strings.Cut(s, "  ")
			for _, name := range strings.Fields(s) {
				list = append(list, strings.TrimSuffix(name, "/"))
			}
			return list
		}
		switch rest, ok := strings.CutPrefix(line, part); {
		case ok && !strings.HasPrefix(rest, " "):
			row := names(rest)
			for i := range row {
				row[i] = path.Join(head[0], row[i])
			}
			floors = append(floors, row)
			parted = true
		case strings.HasPrefix(line, indented) && !strings.HasPrefix(line, indented+" "):
			end()
			head = names(line[len(indented):])
		}
	}
	end()
	return floors
}

// hasCode reports whether there is a package in a directory itself.
func hasCode(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files) > 0
}

// place is the floor that a package is on: the one that names it most closely.
func place(floors []floor, pkg string) int {
	best, length := -1, 0
	for i, row := range floors {
		for _, name := range row {
			if len(name) > length && (pkg == name || strings.HasPrefix(pkg, name+"/")) {
				best, length = i, len(name)
			}
		}
	}
	return best
}

// imports calls f for each import of a package of ours in code that is not tests'.
func imports(t *testing.T, f func(file, pkg, imported string)) {
	t.Helper()
	everyImport(t, func(file, imported string) {
		floor := strings.HasPrefix(file, "internal/") || strings.HasPrefix(file, "cmd/")
		if ours, ok := strings.CutPrefix(imported, module); ok && floor && !strings.HasSuffix(file, "_test.go") {
			f(file, path.Dir(file), ours)
		}
	})
}

// everyImport calls f for each import of anything.
func everyImport(t *testing.T, f func(file, imported string)) {
	t.Helper()
	for _, top := range []string{"internal", "cmd", "test", "bench"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(name, ".go") {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			file := filepath.ToSlash(strings.TrimPrefix(name, ".."+string(filepath.Separator)))
			for _, spec := range parsed.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				f(file, imported)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFloors: a package imports what is on its own line of the map or below it.
func TestFloors(t *testing.T) {
	floors := readFloors(t)
	if len(floors) < 20 {
		t.Fatalf("%d floors were found: has the form of ARCHITECTURE.md changed?", len(floors))
	}
	for _, row := range floors {
		for _, name := range row {
			if st, err := os.Stat(filepath.Join("..", name)); err != nil || !st.IsDir() {
				t.Errorf("ARCHITECTURE.md has a floor %s, which is no directory", name)
			}
		}
	}
	imports(t, func(file, pkg, imported string) {
		from, to := place(floors, pkg), place(floors, imported)
		switch {
		case from < 0:
			t.Errorf("%s is on no floor of ARCHITECTURE.md", pkg)
		case to < from:
			t.Errorf("%s imports %s, which is not below it", file, imported)
		}
	})
}

// stackModule is the module whose TCP/IP stack is a library of ours; the rest of it
// is what Coffer is an alternative to. Beside the stack its own buffers and queues
// may be used, which its functions take.
const stackModule = "gvisor.dev/gvisor/"

func TestStackOnly(t *testing.T) {
	everyImport(t, func(file, imported string) {
		part, ok := strings.CutPrefix(imported, stackModule+"pkg/")
		if !ok && !strings.HasPrefix(imported, stackModule) {
			return
		}
		if file == "internal/link/quiet.go" && part == "log" {
			return // the stack writes there, and this is how it is told not to
		}
		if part != "buffer" && part != "waiter" && !strings.HasPrefix(part+"/", "tcpip/") {
			t.Errorf("%s imports %s: of that module only the TCP/IP stack is used", file, imported)
		}
	})
}

// TestLinked: what must not come into the program by way of libraries.
func TestLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../cmd/coffer").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	linked := strings.Fields(string(out))
	if !slices.Contains(linked, "net") {
		t.Fatalf("go list names %q", linked)
	}
	for name, why := range map[string]string{
		"net/http": "with TLS it is a megabyte, and nothing here speaks HTTP by it",
		"testing":  "it has flags of its own",
	} {
		if slices.Contains(linked, name) {
			t.Errorf("the program links %s: %s ('go list -deps' tells who imports it)", name, why)
		}
	}
}

// Who knows of the parts that few may know of. Files are named where only one
// place of a package is to know.
var confidants = []struct {
	part, why string
	who       []string
}{
	{"internal/sentry", "the user-space kernel is reached through its wall", []string{
		"internal/sentry", "internal/isolation/kernel", "internal/cli", "internal/tools",
		// what a description says of a network
		"internal/hostnet"}},
	{"internal/isolation/kernel", "above isolation.Wall all walls are alike", []string{
		"internal/isolation/kernel", "internal/container/walls.go", "internal/container/features.go", "internal/tools",
		"internal/cli/root.go", "internal/cli/check.go",
		// coffer do, whose sandbox is no container
		"internal/cli/do.go", "internal/cli/do_process.go", "internal/cli/donate.go"}},
	{"internal/isolation/process", "above isolation.Wall all walls are alike", []string{
		"internal/isolation/process", "internal/container/walls.go", "internal/container/features.go", "internal/cli/root.go", "internal/cli/do_process.go"}},
	{"internal/container", "commands act on containers through the lifecycle, and what is below does not know of it", []string{
		"internal/container", "internal/cli"}},
	{"internal/cli", "it is the program, and no library", []string{"cmd/coffer"}},
	{"internal/tools", "they are programs", nil},
}

// TestConfidants: what has a wall around it is not reached around the wall.
func TestConfidants(t *testing.T) {
	within := func(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }
	imports(t, func(file, pkg, imported string) {
		for _, c := range confidants {
			if within(imported, c.part) && !slices.ContainsFunc(c.who, func(who string) bool { return within(file, who) }) {
				t.Errorf("%s imports %s: %s", file, imported, c.why)
			}
		}
	})
}
