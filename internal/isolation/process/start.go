package process

import (
	"errors"
	"fmt"
	"io"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Start lets the program run. It returns when the program does, or has failed
// to.
func (wall) Start(c *isolation.Container) error {
	ch, err := connectStart(c.StateDir)
	if err != nil {
		if err == unix.EAGAIN {
			return errors.New("too many other commands wait to start the container: try again")
		}
		return err
	}
	defer ch.close()
	state := c.State(specs.StateCreated, c.Init.PID)
	if err := ch.send(&word{Word: wordStart, State: state}); err != nil {
		return fmt.Errorf("telling the container's init to start: %w", err)
	}
	started := false
	talk := conversation{channel: ch, pid: c.Init.PID, init: c.Init, spec: c.Spec, state: c.State, status: specs.StateCreated}
	for {
		r, files, err := talk.listen()
		switch {
		case errors.Is(err, io.EOF) && started:
			return nil // the program has taken init's place
		case errors.Is(err, io.EOF):
			return errors.New("the container's init ended, or another command started the container")
		case errors.Is(err, errHeadless):
			if kerr := c.Init.Signal(unix.SIGKILL); kerr != nil && kerr != unix.ESRCH {
				err = fmt.Errorf("%w; and ending what is left of it failed: %w", err, kerr)
			}
			return err
		case err != nil:
			return err
		}
		switch r.Say {
		case sayStarting:
			started = true
		case sayFiltered:
			err = talk.sendListener(files)
		default:
			err = talk.unexpected(r)
		}
		closeAll(files)
		if err != nil {
			return err
		}
	}
}

// Started reports whether the program of a living container has been let run.
func (wall) Started(c *isolation.Container) (bool, error) {
	ch, err := connectStart(c.StateDir)
	switch err {
	case nil:
		ch.close()
		return false, nil
	case unix.EAGAIN: // somebody listens, and has many to listen to
		return false, nil
	case errNotWaiting:
		return true, nil
	}
	return false, err
}
