package boot

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// runStartHooks runs the container's startContainer hooks, one after the other:
// in its namespaces, as its user, with its files and behind its filter.
func (c *container) runStartHooks() error {
	for i := range c.described.StartHooks {
		h := &c.described.StartHooks[i]
		if err := c.runHook(h); err != nil {
			return fmt.Errorf("%s: running %s: %w", h.Field, h.Path, err)
		}
	}
	return nil
}

func (c *container) runHook(h *Hook) error {
	p := c.described.Process
	p.Args, p.Env, p.Console, p.Extra = h.Args, h.Env, -1, nil
	if len(p.Args) == 0 {
		p.Args = []string{h.Path}
	}
	p.program = h.Path
	var said lastWords
	out := anon.NewFile(&said, "[hook]", unix.O_WRONLY)
	defer out.DecRef()
	in := anon.NewFile(&given{data: h.Stdin}, "[hook]", unix.O_RDONLY)
	defer in.DecRef()
	n, err := c.run(&p, []*vfs.FileDescription{in, out, out})
	if err != nil {
		return err
	}
	g := n.task.ThreadGroup()
	var late <-chan time.Time
	if h.Timeout > 0 {
		t := time.NewTimer(h.Timeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-g.Done():
	case <-late:
		g.Kill()
		<-g.Done()
		return fmt.Errorf("it did not end within its timeout of %v, and was killed%s", h.Timeout, said.quote())
	}
	switch status := g.Status(); {
	case status.Signal() != 0:
		return fmt.Errorf("signal %d ended it%s", status.Signal(), said.quote())
	case status.Code() != 0:
		return fmt.Errorf("it ended with code %d%s", status.Code(), said.quote())
	}
	return nil
}

// given is a file that holds what a program is given to read.
type given struct {
	vfs.NoFile
	data []byte
}

func (g *given) Read(_ vfs.Caller, p []byte, off int64) (int, error) {
	if off >= int64(len(g.data)) {
		return 0, nil
	}
	return copy(p, g.data[off:]), nil
}

// lastWords keeps the end of what is written to it.
type lastWords struct {
	vfs.NoFile
	mu   sync.Mutex
	text []byte
}

// lastWordsMax is how much is kept, in bytes.
const lastWordsMax = 1 << 10

func (l *lastWords) Write(_ vfs.Caller, p []byte, _ int64, _ uint32) (int, int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p[max(0, len(p)-lastWordsMax):]...)
	if over := len(l.text) - lastWordsMax; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(p), 0, nil
}

// quote renders it as a part of an error.
func (l *lastWords) quote() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(string(l.text))
	if text == "" {
		return ""
	}
	return fmt.Sprintf("; it wrote %q", text)
}
