package kernel_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/ptrace"
	"coffer/internal/sentry/platform/stub"
	"coffer/internal/sentry/platform/trap"
)

// TestStorm runs testdata/storm.c for a moment, or for STORM (a duration) from
// the seed STORM_SEED.
func TestStorm(t *testing.T) {
	length := time.Second
	if s := os.Getenv("STORM"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := os.Getenv("STORM_SEED")
	if seed == "" {
		seed = "1"
	}
	storm := compile(t, "storm")
	for name, start := range map[string]func(...stub.Option) (platform.Platform, error){"trap": trap.New, "ptrace": ptrace.New} {
		t.Run(name, func(t *testing.T) {
			s := boot(t, kernel.Config{Platform: newPlatform(t, start), MaxTasks: 500}, storm)
			s.length = length
			out, status := s.run("storm", strconv.FormatInt(length.Milliseconds(), 10), seed)
			if status != 0 || out != "calm\n" {
				t.Errorf("status %#x, output %q", uint32(status), out)
			}
		})
	}
}
