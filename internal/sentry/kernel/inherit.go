package kernel

// inherit copies what a new task has from the one that made it and no flag of
// clone(2) decides. thread says that it is of the same process.
func (t *Task) inherit(c *Task, thread bool) {
}

// execReset drops what a task loses with execve(2), other than memory, signals
// and descriptors.
func (t *Task) execReset() {
}
