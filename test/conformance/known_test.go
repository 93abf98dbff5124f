package main

import (
	"maps"
	"strings"
	"testing"
)

func TestKnown(t *testing.T) {
	conditions["always"] = func() bool { return true }
	conditions["never"] = func() bool { return false }
	t.Cleanup(func() { delete(conditions, "always"); delete(conditions, "never") })
	other := func(name string) (map[string]failure, error) {
		return map[string]failure{"x": {reason: "from " + name}, "y": {reason: "from " + name}}, nil
	}
	for _, c := range []struct {
		name, text string
		want       map[string]failure
		err        string
	}{
		{"plain", "# why\n\na it is so\n", map[string]failure{"a": {reason: "it is so"}}, ""},
		{"conditions", "a [always] yes\nb [never] no\nc [sometimes] a race\n",
			map[string]failure{"a": {reason: "yes"}, "c": {reason: "a race", sometimes: true}}, ""},
		{"another for each condition", "a [never] no\na [always] yes\n", map[string]failure{"a": {reason: "yes"}}, ""},
		{"include", "include o.txt except y\na so\n", map[string]failure{"x": {reason: "from o.txt"}, "a": {reason: "so"}}, ""},
		{"no reason", "a\n", nil, "for what reason"},
		{"no reason beside a condition", "a [always]\n", nil, "for what reason"},
		{"unknown condition", "a [moon] full\n", nil, `no condition "moon"`},
		{"open condition", "a [always yes\n", nil, "no end"},
		{"twice", "a so\na so\n", nil, "twice"},
		{"bad include", "include o.txt but y\n", nil, "include FILE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseKnown(strings.NewReader(c.text), other)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
			} else if err != nil || !maps.Equal(got, c.want) {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
}
