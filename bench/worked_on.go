package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What applications work on is made once, in the work directory, and used by
// later runs.

// made makes the directory name in the work directory by fill, unless it is
// there. An interrupted fill leaves none.
func (b *bench) made(name string, fill func(dir string) error) error {
	dir := filepath.Join(b.work, name)
	if exists(dir) {
		return nil
	}
	b.progress("making %s", name)
	unfinished := dir + ".unfinished"
	err := errors.Join(os.RemoveAll(unfinished), os.MkdirAll(unfinished, 0o755))
	if err == nil {
		err = fill(unfinished)
	}
	if err == nil {
		err = os.Rename(unfinished, dir)
	}
	if err != nil {
		os.RemoveAll(unfinished)
		return fmt.Errorf("making %s: %w", name, err)
	}
	return nil
}

const (
	sourceFiles     = 40
	functionsInFile = 15
	smallFiles      = 20_000
	repositoryFiles = 10_000
	commits         = 20
)

// makeSources makes a C program of some size, in two directories: c, and
// c-bound, which is worked on where it is.
func makeSources(_ context.Context, b *bench) error {
	return errors.Join(b.made("c", writeSources), b.made("c-bound", writeSources))
}

func writeSources(dir string) error {
	files := map[string]string{"program.h": "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n#include <pthread.h>\n#include <sys/socket.h>\n"}
	var calls strings.Builder
	for i := range sourceFiles {
		fmt.Fprintf(&calls, "long part%d(long x);\n", i)
		files[fmt.Sprintf("part%d.c", i)] = sourceFile(i)
	}
	calls.WriteString("int main(int argc, char **argv) {\n\tlong x = argc;\n\t(void)argv;\n")
	for i := range sourceFiles {
		fmt.Fprintf(&calls, "\tx = part%d(x);\n", i)
	}
	files["main.c"] = calls.String() + "\tprintf(\"%ld\\n\", x);\n\treturn 0;\n}\n"
	files["Makefile"] = "OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))\n" +
		"program: $(OBJECTS)\n\tgcc -o $@ $^\n" +
		"%.o: %.c program.h\n\tgcc -O2 -include program.h -c -o $@ $<\n" +
		"clean:\n\trm -f program *.o\n"
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sourceFile is the text of one of the program's parts: functions that a
// compiler has to think about.
func sourceFile(part int) string {
	var b strings.Builder
	for f := range functionsInFile {
		fmt.Fprintf(&b, `static long f%[1]d(long x) {
	long table[16], sum = 0;
	for (int i = 0; i < 16; i++) table[i] = (x >> i %% 8) * %[2]d + i;
	for (int i = 0; i < 16; i++) {
		switch (table[i] & 7) {
		case 0: sum += table[(i + %[1]d) & 15]; break;
		case 1: sum ^= table[i] << 3; break;
		case 2: sum -= table[15 - i] / (i + 1); break;
		default: sum = sum * 31 + table[i];
		}
	}
	return sum;
}
`, f, part*functionsInFile+f+3)
	}
	fmt.Fprintf(&b, "long part%d(long x) {\n", part)
	for f := range functionsInFile {
		fmt.Fprintf(&b, "\tx += f%d(x);\n", f)
	}
	b.WriteString("\treturn x;\n}\n")
	return b.String()
}

// makeFiles makes many small files in a tree.
func makeFiles(_ context.Context, b *bench) error {
	return b.made("files", func(dir string) error { return writeFiles(dir, smallFiles) })
}

// writeFiles writes n files of up to 4 KiB, a hundred in each directory.
func writeFiles(dir string, n int) error {
	text := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog.\n", 100))
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", i/1000), fmt.Sprintf("d%d", i/100%10))
		if i%100 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		content := append(fmt.Appendf(nil, "file %d\n", i), text[:i*37%4000]...)
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%d.txt", i)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// makeRepository makes a git repository with some history.
func makeRepository(ctx context.Context, b *bench) error {
	return b.made("repository", func(dir string) error {
		git := func(args ...string) error {
			c := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"}, args...)...)
			c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
			if out, err := c.CombinedOutput(); err != nil {
				return fmt.Errorf("git %s: %w: %s", args[0], err, out)
			}
			return nil
		}
		if err := errors.Join(git("init", "-q"), writeFiles(dir, repositoryFiles)); err != nil {
			return err
		}
		for i := range commits {
			change := filepath.Join(dir, "d0", "d0", "f0.txt")
			if err := os.WriteFile(change, fmt.Appendf(nil, "revision %d\n", i), 0o644); err != nil {
				return err
			}
			if err := errors.Join(git("add", "-A"), git("commit", "-q", "-m", fmt.Sprintf("revision %d", i))); err != nil {
				return err
			}
		}
		return git("repack", "-adq")
	})
}

// prepareGoBuild makes a copy of this module, which does not change during a
// run, and a build cache that has all but the module's own packages.
func prepareGoBuild(ctx context.Context, b *bench) error {
	module := filepath.Join(b.work, "module")
	if err := os.RemoveAll(module); err != nil {
		return err
	}
	for _, dir := range []string{"cmd", "internal"} {
		if err := os.CopyFS(filepath.Join(module, dir), os.DirFS(filepath.Join(b.project, dir))); err != nil {
			return err
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(b.project, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(module, name), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return b.made("gocache", func(dir string) error {
		run := func(args ...string) (string, error) {
			c := exec.CommandContext(ctx, "go", args...)
			c.Dir = b.project
			c.Env = append(append(os.Environ(), goEnv()...), "GOCACHE="+dir)
			out, err := c.Output()
			return string(out), err
		}
		list, err := run("list", "-deps", "./cmd/coffer")
		if err != nil {
			return err
		}
		args := []string{"build"}
		for name := range strings.FieldsSeq(list) {
			if first, _, _ := strings.Cut(name, "/"); first != "coffer" {
				args = append(args, name)
			}
		}
		_, err = run(args...)
		return err
	})
}

// goEnv are the variables for a go build that needs no network and nothing of
// the user's but the modules that are there.
func goEnv() []string {
	// If this fails the build does, and says why.
	modules, _ := exec.Command("go", "env", "GOMODCACHE").Output()
	return []string{
		"GOMODCACHE=" + strings.TrimSpace(string(modules)),
		"GOFLAGS=-mod=readonly -trimpath -buildvcs=false", "GOPROXY=off", "GOTOOLCHAIN=local", "CGO_ENABLED=0",
	}
}
