package vfs

// Discarder is implemented by a File that takes whatever is written without
// looking at it, as /dev/null does: write(2) need not copy the bytes.
type Discarder interface{ DiscardsWrites() bool }
