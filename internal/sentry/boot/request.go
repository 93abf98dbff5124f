package boot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/network"
)

// Ops of requests to a sandbox's server.
const (
	OpStart     = "start"     // let a container's program run
	OpSignal    = "signal"    // to a container's first process, or to all of it
	OpExec      = "exec"      // start another process in a container
	OpAdd       = "add"       // make a container, up to its program
	OpProcesses = "processes" // list a container's
	OpUsage     = "usage"     // measure what a container uses
	OpDestroy   = "destroy"   // end all of a container
	OpUpdate    = "update"    // change a container's limits
	OpNetwork   = "network"   // the network that the sandbox serves has changed
	OpResize    = "resize"    // a terminal has a new size: on a held connection
)

// Request is what a client asks of a sandbox's server: one JSON document with
// its length before it (WriteRequest), with descriptors as SCM_RIGHTS.
//
// Whoever sent OpExec or OpAdd holds the connection as long as the process may
// live: when it is closed, the process is killed. Until then OpSignal and
// OpResize, which have no reply there, mean that process, and a second Reply
// tells how it ended.
type Request struct {
	Op string `json:"op"`
	// Container is the ID of the container that is meant.
	Container string `json:"container,omitempty"`
	Signal    int    `json:"signal,omitempty"`
	All       bool   `json:"all,omitempty"`
	Rows      uint16 `json:"rows,omitempty"`
	Cols      uint16 `json:"cols,omitempty"`
	// Process is OpExec's.
	Process *Process `json:"process,omitempty"`
	// Limits are OpUpdate's.
	Limits *ResourceChange `json:"limits,omitempty"`
	// Network is OpNetwork's, as network.Namespace.Update takes it.
	Network *network.Config `json:"network,omitempty"`
	// New is OpAdd's.
	New *Container `json:"new,omitempty"`
}

// Reply is what the server answers, likewise.
type Reply struct {
	// Error and Code are why it was not done, and the exit code that says so
	// (125, 126, 127) of a program that could not be started.
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"`
	// Ended says that this is the end of a process whose connection was held,
	// with Status as in waitpid(2).
	Ended  bool `json:"ended,omitempty"`
	Status int  `json:"status,omitempty"`
	// Processes answer OpProcesses, Usage OpUsage.
	Processes ProcessList `json:"processes,omitempty"`
	Usage     *Usage      `json:"usage,omitempty"`
}

// ProcessList is a list of processes. One of whom nothing is told takes three
// bytes to send and many in memory, so a client reads no more of them than there
// can be: a guest may have taken over the sentry that sends it.
type ProcessList []ProcessInfo

// UnmarshalJSON implements json.Unmarshaler.
func (l *ProcessList) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.New("a list of processes is none")
	}
	for d.More() {
		if len(*l) == kernel.DefaultMaxTasks {
			return fmt.Errorf("more than %d processes are listed, which no sandbox can have", kernel.DefaultMaxTasks)
		}
		var p ProcessInfo
		if err := d.Decode(&p); err != nil {
			return err
		}
		*l = append(*l, p)
	}
	return nil
}

// Usage is what a container uses.
type Usage struct {
	// Tasks counts threads.
	Tasks uint64 `json:"tasks"`
	// User and System are processor time in nanoseconds, of processes that have
	// ended too.
	User   uint64 `json:"user"`
	System uint64 `json:"system"`
	// Memory is in bytes.
	Memory uint64 `json:"memory"`
	// Interfaces are those by which its network leads out of the sandbox.
	Interfaces []Interface `json:"interfaces,omitempty"`
}

// Interface is what has crossed a network interface.
type Interface struct {
	Name string `json:"name"`
	network.Statistics
}

// ProcessInfo is what there is to know of a process of a container. Numbers
// are those of the container's PID namespace.
type ProcessInfo struct {
	PID     int32  `json:"pid"`
	PPID    int32  `json:"ppid"`
	UID     uint32 `json:"uid"`
	Threads int    `json:"threads"`
	// CPU is the processor time, in nanoseconds.
	CPU     uint64 `json:"cpu"`
	Command string `json:"command"`
}
