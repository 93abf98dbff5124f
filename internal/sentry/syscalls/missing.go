package syscalls

// missingRows name the calls of Linux 6.18. New leaves out those that a family
// answers.
var missingRows = []Row{}
