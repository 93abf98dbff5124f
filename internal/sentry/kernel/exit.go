package kernel

// Exit ends the thread, as exit(2): the way back to the guest leads to its
// end instead.
func (t *Task) Exit(code int32) {
	t.leaving, t.exitCode = true, Exited(code)
	t.markWork()
}

// ExitGroup ends the process, as exit_group(2).
func (t *Task) ExitGroup(code int32) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	t.group.endLocked(Exited(code))
}
