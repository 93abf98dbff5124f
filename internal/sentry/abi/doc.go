// Package abi holds the structures, constants and error numbers of Linux's
// amd64 system call interface that golang.org/x/sys/unix does not have.
//
// It knows nothing of the kernel that uses them: no behaviour, only layouts.
package abi
