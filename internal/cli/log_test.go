package cli

import "testing"

// TestLegible: what containers and hooks have a say in cannot give orders to the
// user's terminal, nor pass for a message of coffer's.
func TestLegible(t *testing.T) {
	for message, want := range map[string]string{
		"plain, with ä and \t tab":         "plain, with ä and \t tab",
		"exec \x1b]0;title\x07: not found": `exec \x1b]0;title\a: not found`,
		"back\rwards\b":                    `back\rwards\b`,
		"c1 \u009b31m":                     `c1 \u009b31m`,
		"bidi \u202e":                      `bidi \u202e`,
		"two\ncoffer: all is well\n":       "two\n\tcoffer: all is well",
		"torn \xff":                        "torn \uFFFD",
	} {
		if got := legible(message); got != want {
			t.Errorf("%q becomes %q, not %q", message, got, want)
		}
	}
}
