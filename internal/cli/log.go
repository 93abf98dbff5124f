package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"coffer/internal/namedfile"
)

// logTarget says where an error of a verb goes.
type logTarget struct {
	// file is set if there is a log file: an error goes there, and to standard
	// error as well.
	file bool
	// structured is set if standard error is the log, in a structured form:
	// what is logged must not be printed again.
	structured bool
}

// openLog makes slog write to the log: a file in the form that runc writes, since
// engines read the errors that they show from there, or standard error.
func openLog(path, format string, debug bool) (logTarget, error) {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	if format != "text" && format != "json" {
		return logTarget{}, fmt.Errorf("--log-format %q is not known: it is text or json", format)
	}
	target := logTarget{file: path != "", structured: path == "" && format == "json"}
	var out io.Writer = os.Stderr
	if path != "" {
		f, err := namedfile.Open(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return logTarget{}, fmt.Errorf("--log %w", err)
		}
		out = f
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: asRunc}
	var h slog.Handler
	switch {
	case format == "json":
		h = slog.NewJSONHandler(out, options)
	case path != "":
		h = slog.NewTextHandler(out, options)
	default:
		h = plain{level}
	}
	slog.SetDefault(slog.New(h))
	return target, nil
}

// asRunc has levels in small letters, and times in seconds.
func asRunc(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 {
		switch a.Key {
		case slog.LevelKey:
			return slog.String(a.Key, strings.ToLower(a.Value.String()))
		case slog.TimeKey:
			return slog.String(a.Key, a.Value.Time().UTC().Format(time.RFC3339))
		}
	}
	return a
}

// report logs why a verb ends, and returns what is to be printed of it.
func (t logTarget) report(ee *exitError) error {
	if ee.message == "" {
		return ee
	}
	if t.file || t.structured {
		slog.Error(ee.message)
	}
	if t.structured {
		return &exitError{ee.code, ""}
	}
	return ee
}

// plain writes lines for people to standard error.
type plain struct{ level slog.Level }

func (p plain) Enabled(_ context.Context, l slog.Level) bool { return l >= p.level }

func (p plain) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "coffer: %s: %s", strings.ToLower(levelName(r.Level)), r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	_, err := fmt.Fprintln(os.Stderr, legible(b.String()))
	return err
}

// legible makes of a message what a terminal shows as text and does not obey.
// Images choose what their programs are called, hooks and containers what is
// reported of them. Further lines are indented, so that none passes for a message
// of its own.
func legible(message string) string {
	var b strings.Builder
	for _, r := range strings.TrimRight(message, "\n") {
		switch {
		case r == '\n':
			b.WriteString("\n\t")
		case r == '\t', unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

func levelName(l slog.Level) string {
	if l == slog.LevelWarn {
		return "warning"
	}
	return l.String()
}

// WithAttrs and WithGroup are not used by what coffer logs.
func (p plain) WithAttrs([]slog.Attr) slog.Handler { return p }
func (p plain) WithGroup(string) slog.Handler      { return p }
