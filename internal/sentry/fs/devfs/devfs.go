// Package devfs fills /dev: it drives the memory devices of null(4),
// full(4) and random(4), and puts the nodes that programs expect into a
// directory. The directory is an ordinary one, of a tmpfs, as Linux's
// devtmpfs is: programs may add to it and remove from it.
//
// Terminals are package devpts's.
package devfs

import (
	"slices"
	"strings"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// majorMemory is the major number of the memory devices.
const majorMemory = 1

// device is a character device's node, and its File if it is driven here.
type device struct {
	name         string // below /dev
	major, minor uint32
	perm         uint32
	file         vfs.File
}

// devices are the nodes in /dev (Documentation/admin-guide/devices.txt).
var devices = []device{
	{"null", majorMemory, 3, 0o666, null{}},
	{"zero", majorMemory, 5, 0o666, zero{}},
	{"full", majorMemory, 7, 0o666, full{}},
	{"random", majorMemory, 8, 0o666, random{}},
	{"urandom", majorMemory, 9, 0o666, random{}},
	{"fuse", 10, 229, 0o666, nil},
	{NetDir + "/tun", 10, 200, 0o666, nil},
	{"tty", 5, 0, 0o666, nil},
	{"console", 5, 1, 0o620, nil},
	{"ptmx", 5, 2, 0o666, nil},
}

// Node is a device node.
type Node struct {
	Name         string
	Major, Minor uint32
	// Perm are the permission bits.
	Perm uint32
}

// defaults are the devices that every container has (runtime-spec, "Default
// Devices"), beside the terminals' /dev/ptmx, which is a link there.
var defaults = []string{"null", "zero", "full", "random", "urandom", "tty"}

// Defaults are the devices of a container's /dev.
func Defaults() []Node {
	var nodes []Node
	for _, d := range devices {
		if slices.Contains(defaults, d.name) {
			nodes = append(nodes, Node{d.name, d.major, d.minor, d.perm})
		}
	}
	return nodes
}

// Links are the symbolic links of a container's /dev, each as name and target.
func Links() [][2]string {
	return append(slices.Clone(links), [2]string{"ptmx", PtsDir + "/ptmx"})
}

// NameOf is the name in /dev of the character device with a number, or "" if
// there is none.
func NameOf(major, minor uint32) string {
	for _, d := range devices {
		if d.major == major && d.minor == minor {
			return d.name
		}
	}
	return ""
}

// links are the symbolic links that udev and container managers make.
var links = [][2]string{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
}

// NetDir is the directory in /dev of what makes network interfaces.
const NetDir = "net"

// Directories in /dev that something is to be mounted on.
const (
	PtsDir    = "pts"
	ShmDir    = "shm"
	MqueueDir = "mqueue"
)

func init() {
	for _, d := range devices {
		if d.file != nil {
			vfs.RegisterDevice(unix.S_IFCHR, d.major, d.minor,
				func(vfs.Caller, uint32, uint32) (vfs.File, error) { return d.file, nil })
		}
	}
}

// Populate makes the nodes, links and directories of /dev in dir, the empty
// root of a writable file system, owned by root. The first error of dir's is
// returned.
func Populate(dir vfs.Inode) error {
	root := vfs.Owner{}
	net, err := dir.Mkdir(root, NetDir, unix.S_IFDIR|0o755)
	if err != nil {
		return err
	}
	for _, d := range devices {
		in, name := dir, d.name
		if rest, ok := strings.CutPrefix(name, NetDir+"/"); ok {
			in, name = net, rest
		}
		if _, err := in.Mknod(root, name, unix.S_IFCHR|d.perm, d.major, d.minor); err != nil {
			return err
		}
	}
	for _, l := range links {
		if _, err := dir.Symlink(root, l[0], l[1]); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		name string
		perm uint32
	}{{PtsDir, 0o755}, {ShmDir, 0o1777}, {MqueueDir, 0o1777}} {
		if _, err := dir.Mkdir(root, m.name, unix.S_IFDIR|m.perm); err != nil {
			return err
		}
	}
	return nil
}
