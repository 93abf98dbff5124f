package procfs

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"coffer/internal/sentry/fs/genfs"
)

// hiddenFlags are features that the host's processors have and a guest can't
// use: FS and GS base belong to the platform, and there are no protection keys.
var hiddenFlags = []string{"fsgsbase", "pku", "ospke"}

// HostCPUInfo reads the host's /proc/cpuinfo and makes of it what a sandbox
// with these processors (a bit each, kernel.CPUs) shows. It must be called before the sentry gives
// up its root directory.
func HostCPUInfo(cpus []uint64) (string, error) {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", fmt.Errorf("read the host's processors: %w", err)
	}
	return cpuInfo(string(b), cpus), nil
}

// cpuInfo makes a /proc/cpuinfo for a set of processors from the first one of
// another, since they are alike, and leaves out the flags that do not hold for
// a guest.
func cpuInfo(host string, set genfs.Bitmap) string {
	block, _, _ := strings.Cut(strings.TrimSpace(host), "\n\n")
	cpus := set.Count()
	var out strings.Builder
	set.Each(func(n int) {
		for line := range strings.Lines(block + "\n") {
			key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ":")
			switch name := strings.TrimSpace(key); {
			case !ok:
				continue
			case name == "processor", name == "core id", name == "apicid", name == "initial apicid":
				value = fmt.Sprintf(" %d", n)
			case name == "siblings", name == "cpu cores":
				value = fmt.Sprintf(" %d", cpus)
			case name == "physical id":
				value = " 0"
			case name == "flags":
				flags := slices.DeleteFunc(strings.Fields(value), func(f string) bool { return slices.Contains(hiddenFlags, f) })
				value = " " + strings.Join(flags, " ")
			}
			out.WriteString(key + ":" + value + "\n")
		}
		out.WriteByte('\n')
	})
	return out.String()
}

// minimalCPUInfo is shown where the host's is not known.
func minimalCPUInfo(cpus []uint64) string {
	return cpuInfo("processor\t: 0\nvendor_id\t: unknown\ncpu family\t: 6\nmodel\t\t: 0\nmodel name\t: x86-64 processor\n"+
		"stepping\t: 0\ncpu MHz\t\t: 1000.000\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\napicid\t\t: 0\n"+
		"fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 1\nwp\t\t: yes\n"+
		"flags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm\nbogomips\t: 2000.00\nclflush size\t: 64\n"+
		"cache_alignment\t: 64\naddress sizes\t: 46 bits physical, 48 bits virtual\n", cpus)
}
