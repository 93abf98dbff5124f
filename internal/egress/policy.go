package egress

// Policy is what a sandbox may reach. Make one with Parse.
type Policy struct{}
