package container

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Stats measures once what a container uses, and calls show with it.
func (s *Store) Stats(id string, show func(Event) error) error {
	c, err := s.measurable(id)
	if err != nil {
		return err
	}
	return c.measure(show)
}

// Events measures at intervals what a container uses, and calls show with that,
// and with each time that it ran out of memory, until it stops, ctx is done, or
// show fails.
func (s *Store) Events(ctx context.Context, id string, interval time.Duration, show func(Event) error) error {
	c, err := s.measurable(id)
	if err != nil {
		return err
	}
	init, err := c.Init.Open()
	if err != nil {
		return nil // it has just stopped
	}
	defer init.Close()
	group, err := c.cgroup()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel()
	oom, err := group.WatchOOM(ctx)
	if err != nil {
		slog.Warn(fmt.Sprintf("container %s: that it runs out of memory will not be told: %v", id, err))
	}
	stopped := make(chan struct{})
	watchers.Go(func() {
		waitEnd(ctx, int(init.Fd()))
		close(stopped)
	})
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-stopped:
			return nil
		case _, ok := <-oom:
			if !ok {
				oom = nil // the cgroup is gone, and the container with it soon
				continue
			}
			err = show(Event{Type: "oom", ID: id})
		case <-ticker.C:
			err = c.measure(show)
			if alive, aerr := c.Init.Alive(); err != nil && aerr == nil && !alive {
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// waitEnd returns when a process has ended, which makes its descriptor readable
// (pidfd_open(2)), or when ctx is done.
func waitEnd(ctx context.Context, pidfd int) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		<-ctx.Done()
		return
	}
	defer unix.Close(wake)
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(woken)
	})
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != unix.EINTR {
			break
		}
	}
	if !stop() {
		<-woken // it writes to a descriptor that is about to be closed
	}
}

// measurable finds a container that has not stopped.
func (s *Store) measurable(id string) (*Container, error) {
	c, err := s.Find(id)
	if err != nil {
		return nil, err
	}
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	if status == specs.StateStopped {
		return nil, fmt.Errorf("container with id %s is not running: it has stopped, and uses nothing", id)
	}
	return c, nil
}

func (c *Container) measure(show func(Event) error) error {
	wall, it, err := c.behind()
	if err != nil {
		return err
	}
	stats, err := it.Cgroup.Stats()
	if err != nil {
		return fmt.Errorf("container %s: %w", c.ID, err)
	}
	data := usage(stats)
	told, err := wall.Usage(it)
	if err != nil {
		return fmt.Errorf("container %s: measuring what it uses: %w", c.ID, err)
	}
	if told != nil {
		data.correct(told)
	}
	return show(Event{Type: "stats", ID: c.ID, Data: data})
}
