package boot

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// startConsole makes the sandbox's terminal and relays its bytes to and from
// the stream that was donated for it.
func (s *sandbox) startConsole(box *Sandbox) error {
	c, err := s.pts.NewConsole(box.Rows, box.Cols)
	if err != nil {
		return fmt.Errorf("making the console: %w", err)
	}
	c.SetOwner(box.UID)
	if err := unix.SetNonblock(box.Console, true); err != nil {
		return fmt.Errorf("preparing the console's stream: %w", err)
	}
	s.console, s.stream, s.relayed = c, os.NewFile(uintptr(box.Console), "console"), make(chan struct{})
	go io.Copy(c, s.stream)
	go func() {
		io.Copy(s.stream, c)
		close(s.relayed)
	}()
	return nil
}

// finishConsole passes on what the program wrote last and ends the stream.
func (s *sandbox) finishConsole() {
	if s.console == nil {
		return
	}
	<-s.relayed // the last program that had it open is gone, so this ends
	s.console.Close()
	s.stream.Close()
}
