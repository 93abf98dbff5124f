package oci

import (
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The versions of the specification that are understood: all of major version
// 1. A newer minor version adds only what may be ignored.
const versionMin = "1.0.0"

var versionMax = specs.Version

// checkVersion refuses configurations of another major version.
func checkVersion(v string) error {
	cure := "set it to the version of the OCI runtime specification that the bundle follows, such as " + versionMax
	if v == "" {
		return fmt.Errorf("%s: ociVersion is missing: %s", ConfigFile, cure)
	}
	major, _, err := parseVersion(v)
	if err != nil {
		return fmt.Errorf("%s: ociVersion %q is not a version (%w): %s", ConfigFile, v, err, cure)
	}
	if major != 1 {
		return fmt.Errorf("%s: ociVersion %q is not supported: this version of Coffer knows %s to %s, and later ones of major version 1", ConfigFile, v, versionMin, versionMax)
	}
	return nil
}

// parseVersion takes MAJOR.MINOR.PATCH, with a pre-release and build metadata
// perhaps (https://semver.org).
func parseVersion(v string) (major, minor uint64, err error) {
	core, _, _ := strings.Cut(v, "+")
	core, pre, hasPre := strings.Cut(core, "-")
	if hasPre && pre == "" {
		return 0, 0, fmt.Errorf("nothing follows the hyphen")
	}
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return 0, 0, fmt.Errorf("it has no three numbers")
	}
	var numbers [3]uint64
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil || p != strconv.FormatUint(n, 10) {
			return 0, 0, fmt.Errorf("%q is no number of it", p)
		}
		numbers[i] = n
	}
	return numbers[0], numbers[1], nil
}

// PoststartEnds reports whether a poststart hook that fails ends a container of
// this version of the specification: from 1.3 on. Before, it was only logged.
func PoststartEnds(version string) bool {
	major, minor, err := parseVersion(version)
	return err == nil && (major > 1 || major == 1 && minor >= 3)
}
