// Package tty is the terminal line discipline of termios(3): what stands
// between the two ends of a pseudoterminal. Bytes that the master end writes
// are edited, echoed and turned into signals on their way to the reader of
// the terminal; bytes that programs write to the terminal are post-processed
// on their way to the master.
//
// It must not know tasks, sessions or files: the signals that input asks for
// are returned to the caller, who sends them.
//
// Lock order: Discipline.mu is a leaf but for the waiter queues' locks.
package tty
