package hostcgroup

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/sirupsen/logrus"
)

// routeLog sends what the cgroup library has to say to the program's own log.
// The library writes through logrus's one global logger.
var routeLog = sync.OnceFunc(func() {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.DebugLevel)
	logrus.AddHook(toSlog{})
})

// toSlog is a logrus hook.
type toSlog struct{}

func (toSlog) Levels() []logrus.Level { return logrus.AllLevels }

func (toSlog) Fire(e *logrus.Entry) error {
	level := slog.LevelDebug
	switch e.Level {
	case logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel:
		level = slog.LevelError
	case logrus.WarnLevel:
		level = slog.LevelWarn
	case logrus.InfoLevel:
		level = slog.LevelInfo
	}
	var attrs []slog.Attr
	for k, v := range e.Data {
		attrs = append(attrs, slog.Any(k, v))
	}
	slog.LogAttrs(context.Background(), level, "cgroups: "+e.Message, attrs...)
	return nil
}
