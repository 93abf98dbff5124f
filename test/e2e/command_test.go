package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/test/screen"

	"golang.org/x/sys/unix"
)

// outcome is what came of a command.
type outcome struct {
	stdout, stderr string
	code           int
}

// try runs a command to its end.
func try(t *testing.T, argv ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), screen.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// What a command leaves behind may keep its output open.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%s: %v, %v\n%s%s", strings.Join(argv, " "), err, ctx.Err(), stdout.String(), stderr.String())
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed, and returns what it prints.
func must(t *testing.T, argv ...string) string {
	t.Helper()
	o := try(t, argv...)
	if o.code != 0 {
		t.Fatalf("%s: exit code %d\n%s%s", strings.Join(argv, " "), o.code, o.stdout, o.stderr)
	}
	return strings.TrimSpace(o.stdout)
}

// eventually waits until what returns true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(screen.Patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// server is a program that serves until it is stopped.
type server struct {
	cmd *exec.Cmd
	log string
}

// serve starts a server, and waits until it accepts connections at its Unix
// socket. It is stopped with the test, and its log shown if that failed.
func serve(t *testing.T, socket string, argv ...string) *server {
	t.Helper()
	s := &server{cmd: exec.Command(argv[0], argv[1:]...), log: filepath.Join(t.TempDir(), filepath.Base(argv[0])+".log")}
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		s.cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		s.cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-ended:
		case <-time.After(screen.Patience):
			t.Errorf("%s did not end by SIGTERM", argv[0])
			s.cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			b, _ := os.ReadFile(s.log)
			t.Logf("the end of %s's log:\n%s", argv[0], b[max(0, len(b)-4000):])
		}
	})
	eventually(t, argv[0]+" accepts connections", func() bool {
		select {
		case <-ended:
			b, _ := os.ReadFile(s.log)
			t.Fatalf("%s ended: %v\n%s", argv[0], s.cmd.ProcessState, b)
		default:
		}
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return s
}
