package profile

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// agentTime is how long an agent may take to accept what it is sent.
const agentTime = 10 * time.Second

// SendListener hands the listener to the agent at the Unix socket path, with
// the state of the process as the spec wants it (runtime.md, "The Container
// Process State"), whatever descriptors that names. It goes from a process that
// still has the host's file system.
func SendListener(path string, listener *os.File, state *specs.ContainerProcessState) error {
	send := func() error {
		// The agent finds the descriptor by its name's place in the list.
		s := *state
		s.Fds = []string{specs.SeccompFdName}
		data, err := json.Marshal(s)
		if err != nil {
			return err
		}
		conn, err := net.DialTimeout("unix", path, agentTime)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(agentTime)); err != nil {
			return err
		}
		unixConn := conn.(*net.UnixConn)
		// The descriptor goes with the first bytes; what does not fit into the
		// socket's buffer follows.
		n, _, err := unixConn.WriteMsgUnix(data, unix.UnixRights(int(listener.Fd())), nil)
		if err != nil {
			return err
		}
		_, err = unixConn.Write(data[n:])
		return err
	}
	if err := send(); err != nil {
		return fmt.Errorf("handing the seccomp listener to the agent at %s (linux.seccomp.listenerPath): %w; see that the agent runs and listens there", path, err)
	}
	return nil
}
