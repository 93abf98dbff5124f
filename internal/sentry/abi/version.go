package abi

// What uname(2), /proc/version and /proc/sys/kernel tell of the kernel. The
// release is that of a Linux long-term series whose interface we follow:
// programs compare it to find out which features to expect.
const (
	// OSType is uname(2)'s sysname.
	OSType = "Linux"
	// OSRelease is uname(2)'s release.
	OSRelease = "6.12.0-coffer"
	// OSVersion is uname(2)'s version.
	OSVersion = "#1 SMP PREEMPT_DYNAMIC Mon Jan 1 00:00:00 UTC 2026"
	// Machine is uname(2)'s machine.
	Machine = "x86_64"
)
