package kernel

import "strings"

// RefusedFields names the fields of a configuration that this wall refuses, for
// the features command.
func RefusedFields() string {
	var names []string
	for _, f := range fields {
		if f.Support == Refused {
			names = append(names, f.Path)
		}
	}
	return strings.Join(names, ",")
}
