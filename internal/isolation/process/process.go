// Package process is the wall that is the host's own kernel: namespaces,
// cgroups, pivot_root(2), capabilities and seccomp filters.
//
// A container's first process, its init, comes to be in three steps. The
// calling coffer makes a child that runs no Go but a list of system calls
// (script.go): it joins and creates namespaces, which Linux allows to
// processes of one thread only, and forks once more where a namespace takes
// effect in children only (plan.go, spawn.go). This child executes a protected
// copy of coffer's binary (binary.go) in the role "init" (init.go), which makes
// the container from inside, waits for Start, and becomes the program. All along
// it talks to its parent over one socket (channel.go, conversation.go); if the
// parent ends before Create has returned, init ends too.
//
// Exec goes the same way, but for what makes a container. What init has of the
// host's is hidden from the container: it can be neither traced nor dumped, its
// binary can't be written to, it holds no descriptor but its socket and what its
// program gets, and what it says is not trusted.
//
// The package knows neither the lifecycle nor the command line. A container's
// mounts, identity and seccomp filter are made by the packages below and beside.
package process
