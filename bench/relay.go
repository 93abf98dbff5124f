package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A path is what frames of a lab go through on their way.
type path struct {
	// delay is how long each way takes.
	delay time.Duration
	// rate is in bytes a second. What is faster waits, as in a router, in a queue that
	// holds as much as passes within the delay of both ways.
	rate float64
	// every is which frames with data get lost: the nth, 2nth and so on; 0 is none.
	every int
}

// dataFrame is the least size of a frame that counts as one with data.
const dataFrame = 200

// relay carries frames from one TAP device to another until one is closed.
func (p *path) relay(from, to *os.File) {
	type frame struct {
		bytes []byte
		due   time.Time
	}
	// As many small frames as anybody has under way here.
	queue := make(chan frame, 1<<16)
	go func() {
		for f := range queue {
			time.Sleep(time.Until(f.due))
			to.Write(f.bytes)
		}
	}()
	defer close(queue)
	var left time.Time // when the last frame has left the router
	data := 0
	for buf := make([]byte, 64<<10); ; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if n >= dataFrame {
			if data++; p.every > 0 && data%p.every == 0 {
				continue
			}
		}
		now := time.Now()
		if left.Before(now) {
			left = now
		}
		if left.Sub(now) > 2*p.delay {
			continue
		}
		left = left.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
		select {
		case queue <- frame{append([]byte(nil), buf[:n]...), left.Add(p.delay)}:
		default:
		}
	}
}

// newTAP makes a TAP device in the thread's network namespace, which lasts as long as
// the file (Linux, Documentation/networking/tuntap.rst).
func newTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making the TAP device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
