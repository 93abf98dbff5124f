// Package egress has the policy of what a sandbox may reach: the rules of --egress,
// which names and addresses they permit, and which addresses a name has stood for.
//
// It does no input or output, so that it can be tested and fuzzed as it is.
package egress
