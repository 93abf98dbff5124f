// Package process is the wall that is the host's own kernel: namespaces,
// cgroups, pivot_root(2), capabilities and seccomp filters.
//
// A container's first process, its init, comes to be in three steps. The
// calling coffer makes a child that runs no Go but a list of system calls
// (script.go): it joins and creates namespaces, which Linux allows to
// processes of one thread only, and forks once more where a namespace takes
// effect in children only (spawn.go). This child executes a protected copy of
// coffer's binary (binary.go) in the role "init" (init.go), which makes the
// container from inside, waits for Start, and becomes the program. All along
// it talks to its parent over one socket (channel.go); if the parent ends
// before Create has returned, init ends too.
//
// The package knows neither the lifecycle nor the command line.
package process
