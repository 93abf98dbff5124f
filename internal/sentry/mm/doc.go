// Package mm keeps guest address spaces: which mappings there are, what
// brk(2), mmap(2), mprotect(2), mremap(2) and their like do to them, and how
// /proc shows them. It is the only package that changes guest memory's shape;
// contents move through platform's CopyIn and CopyOut.
//
// The host's stub holds the memory itself (package platform). mm decides and
// keeps the books, and queues the host operations that make it so, which run
// in one batch when the task goes back to guest code. They are queued with mu
// held and the platform keeps their order, so that books and host agree
// however many tasks use an address space.
//
// It must not know tasks or signals.
//
// Lock order: MemoryManager.remote, MemoryManager.mu, vfs's locks and the
// platform's, MemoryManager.tree. File descriptions are released after mu is
// dropped.
package mm
