package vfs

import "sync/atomic"

// A platform can answer some calls by itself that have failed before, as long as nothing
// has changed that walks of paths depend on: see platform.NoLinkKeeper. Whatever does change
// that begins a new epoch, the number of which is in a word that the platform can see: names,
// mounts, permissions of directories, and what a task has of itself, as its working directory
// or its credentials. What a Revalidator has is not among them, and no answer may depend on it.

// changes are those of what walks depend on.
var changes struct {
	// running counts those that have begun and not ended.
	running atomic.Int64
	word    atomic.Pointer[atomic.Uint64]
}

func init() { changes.word.Store(new(atomic.Uint64)) }

// ShareEpoch has the number be in word from now on. There is one for all kernels of a
// process, so what only saw the word before has seen its last change.
func ShareEpoch(word *atomic.Uint64) { changes.word.Swap(word).Add(1) }

// Epoch is a moment, for as long as nothing changes.
type Epoch struct {
	Number uint64
	// Word is where the number is as long as it holds, nil if it does not even now.
	Word *atomic.Uint64
}

// CurrentEpoch returns the present epoch.
func CurrentEpoch() Epoch {
	w := changes.word.Load()
	e := Epoch{w.Load(), w}
	// A change that has begun before may not be visible yet, and its epoch is this one.
	if changes.running.Load() != 0 {
		e.Word = nil
	}
	return e
}

// BeginChange says that something is about to change that others can see at once: the epoch
// is over before they do. EndChange says that it has, and is as it will be for who looks.
func BeginChange() {
	changes.running.Add(1)
	changes.word.Load().Add(1)
}

// EndChange ends what BeginChange began.
func EndChange() { changes.running.Add(-1) }

// beginChange is that of a name in the file system.
func (s *super) beginChange() {
	if s.revalidates == nil {
		BeginChange()
	}
}

func (s *super) endChange() {
	if s.revalidates == nil {
		EndChange()
	}
}
