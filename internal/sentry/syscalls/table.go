package syscalls

// families are the rows of all calls, by family.
var families = [][]Row{}
