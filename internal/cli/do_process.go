package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"coffer/internal/container"
	"coffer/internal/hostcgroup"
	"coffer/internal/hostnet"
	"coffer/internal/isolation"
	"coffer/internal/isolation/kernel"
	"coffer/internal/isolation/process/rootfs"
	"coffer/internal/oci"
	"coffer/internal/oci/linuxname"
	"coffer/internal/sysmon"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// `coffer do --isolation process` is a container of the process wall on the
// host's files. What it takes lies in a file system in memory that is mounted
// over the directory of containers, in a mount namespace that goes with coffer's
// own process: the room. So nothing of it is left, whatever ends coffer; the
// container, which would outlive its maker, is ended by a keeper then.

// The roles in which coffer executes itself for that.
const (
	roomRole   = "do-room"
	keeperRole = "do-keeper"
)

// enterRoom goes into a mount namespace of its own and starts the command again
// in it. It returns only if that fails.
func enterRoom() error {
	if isRootless() {
		return errors.New("coffer do --isolation process mounts this host's files for the program, which only root may: run it as root, or leave --isolation out: isolation kernel needs no privileges")
	}
	// A thread has its namespaces for itself until it executes a program: then it
	// is the only one.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts from the host: %w", err)
	}
	sysmon.Restore() // or the program in the room would have the slack of a thread that sysmon has made
	err := syscall.Exec("/proc/self/exe", append([]string{os.Args[0], roomRole}, os.Args[1:]...), os.Environ())
	return fmt.Errorf("executing coffer again: %w", err)
}

// room is a directory in memory that holds what one container takes.
type room struct {
	dir      string
	overlays int
	// mounts are where the host has mounted something, as it was before the room.
	mounts []string
	// shown are those of them that the container has, parents first.
	shown []specs.Mount
	// ids maps the IDs of the container, and of the files that it is shown, to
	// those that they have on the host.
	ids []specs.LinuxIDMapping
}

// A container's IDs are not the host's: its root would be the host's own to the
// files of /proc/sys and to the host's devices, whatever its capabilities are
// worth. Each has a range by the number of its process, so that containers at work
// at once are strangers to each other too, as good as always; all are above those
// that are in use for users.
const (
	rangeSize  = 1 << 16
	firstRange = 1 << 30
	ranges     = 1 << 15
)

func idRange(pid int) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{HostID: firstRange + uint32(pid%ranges)*rangeSize, Size: rangeSize}}
}

// newRoom mounts a file system in memory over a directory.
func newRoom(dir string) (*room, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the directory of containers: %w (root in %s names another one)", err, configPath)
	}
	mounts, err := hostMounts()
	if err != nil {
		return nil, fmt.Errorf("reading the host's mounts: %w", err)
	}
	if err := unix.Mount("coffer", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return nil, fmt.Errorf("mounting a file system in memory on %s: %w", dir, err)
	}
	return &room{dir: dir, mounts: mounts, ids: idRange(os.Getpid())}, nil
}

// overlay shows a directory of the host's, with changes kept in memory, at a new
// directory of the room, its files with the container's IDs if they are mapped.
func (r *room) overlay(lower string, mapped bool) (string, error) {
	r.overlays++
	base := filepath.Join(r.dir, "overlay"+strconv.Itoa(r.overlays))
	path := func(name string) string { return filepath.Join(base, name) }
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(path(name), 0o755); err != nil {
			return "", err
		}
	}
	if err := r.show(lower, path("lower"), mapped); err != nil {
		return "", fmt.Errorf("showing %s to the container: %w; isolation kernel can do without", lower, err)
	}
	// The top of what is seen has the mode and owner of the upper directory.
	var st unix.Stat_t
	if err := unix.Stat(path("lower"), &st); err != nil {
		return "", fmt.Errorf("%s: %w", lower, err)
	}
	if err := errors.Join(unix.Chown(path("upper"), int(st.Uid), int(st.Gid)), unix.Chmod(path("upper"), st.Mode&07777)); err != nil {
		return "", fmt.Errorf("%s: %w", path("upper"), err)
	}
	merged := path("merged")
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", path("lower"), path("upper"), path("work"))
	if err := unix.Mount("coffer", merged, "overlay", unix.MS_NODEV, options); err != nil {
		return "", fmt.Errorf("mounting a writable layer over %s: %w: the host's kernel must have overlayfs that takes ID-mapped mounts (Linux 5.19), and files that can lie beneath it; isolation kernel needs neither", lower, err)
	}
	return merged, nil
}

// show mounts a directory of the host's at another one.
func (r *room) show(dir, at string, mapped bool) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a mount of it: %w", err)
	}
	defer unix.Close(tree)
	if mapped {
		if err := rootfs.MapIDs(tree, r.ids, r.ids); err != nil {
			return err
		}
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mounting it: %w", err)
	}
	return nil
}

// write makes a file of the container's below its root, or below what is shown
// there, in place of one that is there.
func (r *room) write(root, path string, data []byte) error {
	whole := path
	for _, m := range r.shown {
		if rel, ok := strings.CutPrefix(whole, m.Destination+"/"); ok {
			root, path = m.Source, rel
		}
	}
	below, err := os.OpenRoot(root) // the files may be those of others than the host's root
	if err != nil {
		return err
	}
	defer below.Close()
	path = strings.TrimPrefix(path, "/")
	if err := below.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := below.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := below.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		id := int(r.ids[0].HostID)
		err = errors.Join(f.Chown(id, id), f.Chmod(0o644))
	}
	return errors.Join(err, f.Close())
}

// givePipes makes the container's user the owner of those standard streams that
// are pipes, so that it can open /dev/stdout again. Files and devices stay whose
// they are.
func (r *room) givePipes(uid uint32) error {
	for fd := range 3 {
		var fs unix.Statfs_t
		if unix.Fstatfs(fd, &fs) != nil || fs.Type != unix.PIPEFS_MAGIC {
			continue
		}
		if err := unix.Fchown(fd, int(r.ids[0].HostID+uid), -1); err != nil {
			return fmt.Errorf("giving descriptor %d to the container's user: %w", fd, err)
		}
	}
	return nil
}

// hostMounts lists where something is mounted, parents first. Namespaces that are
// kept by a mount are left out: they are no files to show. So are places where
// something would be mounted (autofs), maybe from far away, once somebody looked.
func hostMounts() ([]string, error) {
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType == "nsfs" || m.FSType == "autofs", false
	})
	if err != nil {
		return nil, err
	}
	var list []string
	for _, m := range infos {
		list = append(list, m.Mountpoint)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// mountsBelow lists what the host has mounted below a directory, but for what
// another mount covers and what root may not see (FUSE).
func (r *room) mountsBelow(dir string) (list []string) {
	for _, m := range r.mounts {
		if m == dir || !strings.HasPrefix(m, strings.TrimSuffix(dir, "/")+"/") {
			continue
		}
		if _, err := os.Lstat(m); err == nil {
			list = append(list, m)
		}
	}
	return list
}

// inside is the path by which the container knows a path below its root.
func inside(root, path string) string { return filepath.Join("/", strings.TrimPrefix(path, root)) }

// isHidden reports whether the container has its own of a path.
func isHidden(path string) bool {
	return slices.ContainsFunc(hidden, func(h string) bool { return path == h || strings.HasPrefix(path, h+"/") })
}

// showEach shows what is mounted below a directory of the host's, which the
// container has at another path, with changes kept in memory. Files of a file
// system that maps no IDs belong to nobody there, and what cannot be overlaid is not
// shown, but for single files: through an overlay no socket of the host's is reached.
func (r *room) showEach(dir, at string, below []string) []specs.Mount {
	var mounts []specs.Mount
	for _, m := range below {
		options := append([]string{"bind", "nosuid", "nodev"}, forbidden(m)...)
		source, err := r.overlay(m, true)
		if err != nil {
			source, err = r.overlay(m, false)
		}
		if err != nil {
			if st, err := os.Lstat(m); err != nil || !st.Mode().IsRegular() {
				continue
			}
			source, options = m, append(options, "ro")
		}
		mounts = append(mounts, specs.Mount{Destination: filepath.Join(at, inside(dir, m)), Type: "bind", Source: source, Options: options})
	}
	return mounts
}

// forbidden are the options of the mount at a path that an overlay of it has not by itself.
func forbidden(path string) []string {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err == nil && st.Flags&unix.ST_NOEXEC != 0 {
		return []string{"noexec"}
	}
	return nil
}

// enterable refuses a working directory that is not there: a container's is made,
// which for a command on this host's files would hide a mistake.
func enterable(root, cwd string, mounts []specs.Mount) error {
	for _, m := range mounts {
		if rel, err := filepath.Rel(m.Destination, cwd); err == nil && filepath.IsLocal(rel) {
			return nil // only inside can it be told
		}
		if rel, err := filepath.Rel(cwd, m.Destination); err == nil && filepath.IsLocal(rel) {
			return nil // it is made for the mount, should it be missing
		}
	}
	path, err := securejoin.SecureJoin(root, cwd)
	if err == nil {
		_, err = os.Stat(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the working directory %s is not there in the sandbox: give another one with --cwd, or show it with --bind", cwd)
	}
	return nil
}

// runProcess runs the command in a container of the process wall. It is called
// in the room.
func (f *doFlags) runProcess(g *globals, args []string) error {
	cfg, err := f.config(args)
	if err != nil {
		return refused(err)
	}
	defer closeAll(cfg)
	dir, err := g.rootDirectory()
	if err != nil {
		return refused(err)
	}
	r, err := newRoom(dir)
	if err != nil {
		return refused(err)
	}
	attached, err := f.attach(g, hostnet.ModeNone, hostnet.Namespace)
	if err != nil {
		return refused(err)
	}
	defer detach(attached)
	spec, err := f.spec(r, &cfg, attached)
	if err != nil {
		return refused(err)
	}
	if attached.Host {
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	} else {
		// As the kernel wall has it (network.OpenToAll).
		spec.Linux.Sysctl = map[string]string{
			"net.ipv4.ip_unprivileged_port_start": "0",
			"net.ipv4.ping_group_range":           "0 " + strconv.Itoa(rangeSize-1),
		}
	}
	spec.Process.Terminal = onTerminal()
	data, err := json.Marshal(spec)
	if err != nil {
		return refused(err)
	}
	if err := oci.Check(spec); err != nil {
		return refused(err)
	}
	if err := r.givePipes(spec.Process.User.UID); err != nil {
		return refused(err)
	}
	id := idPrefix + strconv.Itoa(os.Getpid())
	store := container.NewStore(filepath.Join(r.dir, "containers"), container.DefaultWalls)
	end, err := startKeeper(r, id)
	if err != nil {
		return refused(err)
	}
	defer end()
	err = programFailed(runForeground(store, &container.CreateRequest{
		ID: id, Bundle: r.dir, Config: data, Spec: spec, Isolation: isolation.LevelProcess, Reap: true, UserCwd: cfg.Sandbox.UserCwd,
		Cgroup: hostcgroup.Options{Systemd: g.systemdCgroup},
		Network: func(init isolation.PID) error {
			if attached.Furnish != nil {
				if err := attached.Furnish(init.PID); err != nil {
					return err
				}
			}
			for path, data := range namesOf(attached) {
				if err := r.write(spec.Root.Path, path, data); err != nil {
					return fmt.Errorf("writing the sandbox's %s: %w", path, err)
				}
			}
			return nil
		},
	}, &runFlags{}))
	var ee *exitError
	if errors.As(err, &ee) {
		return &exitError{ee.code, f.inFlags(ee.message)}
	}
	return err
}

// inFlags has a message name the flag where it names a field of a configuration, which
// nobody has written.
func (f *doFlags) inFlags(message string) string {
	if rest, ok := strings.CutPrefix(message, "process.cwd: "); ok {
		return "the working directory (--cwd): " + rest
	}
	if !strings.HasPrefix(message, "mounts[") {
		return message
	}
	_, about, _ := strings.Cut(message, "] ")
	for _, bind := range f.binds {
		host, guest, _, err := parseBind(bind)
		if guest == "" {
			guest, _ = filepath.Abs(host)
		}
		if why, ok := strings.CutPrefix(about, strconv.Quote(guest)+": "); err == nil && ok {
			return "--bind " + bind + ": " + why
		}
	}
	return message
}

// spec describes the container. Its root has all capabilities in a user namespace
// of its own, and so none over the host's kernel; it may read what the host's root
// may.
func (f *doFlags) spec(r *room, cfg *kernel.Config, attached *hostnet.Attachment) (*specs.Spec, error) {
	box := &cfg.Sandbox
	spec := oci.Template(false)
	p, l := spec.Process, spec.Linux
	umask := box.Umask
	p.User = specs.User{UID: box.UID, GID: box.GID, AdditionalGids: box.Groups, Umask: &umask}
	p.Args, p.Env, p.Cwd = box.Args, box.Env, box.Cwd
	p.Rlimits, p.NoNewPrivileges = nil, false
	all := linuxname.Capabilities()
	p.Capabilities = &specs.LinuxCapabilities{Bounding: all}
	if box.UID == 0 {
		p.Capabilities.Effective, p.Capabilities.Permitted = all, all
	}
	spec.Hostname = box.Hostname
	for _, id := range append([]uint32{box.UID, box.GID}, box.Groups...) {
		if id >= rangeSize {
			return nil, fmt.Errorf("the ID %d cannot be had with isolation process, whose containers have those up to %d: choose another user with --user", id, rangeSize-1)
		}
	}
	l.UIDMappings, l.GIDMappings = r.ids, r.ids
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	if box.Memory > 0 {
		l.Resources.Memory = &specs.LinuxMemory{Limit: &box.Memory, Swap: &box.Memory}
	}

	root := cfg.Root.Name()
	merged, err := r.overlay(root, true)
	if err != nil {
		return nil, err
	}
	spec.Root = &specs.Root{Path: merged}
	below := slices.DeleteFunc(r.mountsBelow(root), func(m string) bool {
		m = inside(root, m)
		// An engine mounts the files of names in a container of its. A network of the
		// sandbox's own has its own, which it may know only when it furnishes the namespace.
		return isHidden(m) || slices.Contains(nameFiles, m) && (attached.Furnish != nil || namesOf(attached)[m] != nil)
	})
	r.shown = r.showEach(root, "/", below)
	mounts := append(slices.Clip(r.shown), spec.Mounts...)
	mounts = append(mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}})
	for i, m := range box.Mounts {
		source := filepath.Join(cfg.Mounts[i].Name(), m.Name)
		mount := specs.Mount{Destination: m.Path, Type: "bind", Options: []string{"rbind", "nosuid", "nodev"}}
		var nested []specs.Mount
		switch {
		case m.Overlay:
			nested = r.showEach(source, m.Path, r.mountsBelow(source))
			mount.Options = append(mount.Options, forbidden(source)...)
			if source, err = r.overlay(source, true); err != nil {
				return nil, err
			}
		default:
			mount.UIDMappings, mount.GIDMappings = r.ids, r.ids
			if !m.Write {
				mount.Options = append(mount.Options, "rro")
			}
		}
		mount.Source = source
		mounts = append(append(mounts, mount), nested...)
	}
	if err := enterable(root, p.Cwd, mounts); err != nil {
		return nil, err
	}
	spec.Mounts = mounts
	return spec, nil
}

// keeperPause is how long after a keeper's end the next one begins.
const keeperPause = 50 * time.Millisecond

// startKeeper starts the process that ends the container should this one be killed, and
// another one should that be killed. The function that it returns ends the keeper.
func startKeeper(r *room, id string) (end func(), err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	start := func() (*exec.Cmd, error) {
		keeper := &exec.Cmd{
			Path: "/proc/self/exe", Args: []string{"coffer", keeperRole, filepath.Join(r.dir, "containers"), id},
			Env: []string{}, Dir: "/", Stdin: read,
			SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		}
		return keeper, keeper.Start()
	}
	keeper, err := start()
	if err != nil {
		read.Close()
		write.Close()
		return nil, fmt.Errorf("starting the container's keeper: %w", err)
	}
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer read.Close()
		for err := error(nil); err == nil; keeper, err = start() {
			keeper.Wait()
			select {
			case <-ending:
				return
			case <-time.After(keeperPause): // each may end at once, for want of memory or threads
			}
		}
	}()
	return func() {
		close(ending)
		write.Close()
		<-ended
	}, nil
}

// idPrefix begins the ID of a container, before the number of coffer's process.
const idPrefix = "do-"

// isKept reports whether a container has such an ID. Others are for who made them to delete.
func isKept(id string) bool {
	pid, ok := strings.CutPrefix(id, idPrefix)
	_, err := strconv.ParseUint(pid, 10, 31)
	return ok && err == nil
}

// keep is the keeper's main: it removes what was left when other keepers were killed with their
// coffers, waits for the end of standard input, and then removes what is left of the container.
func keep(root, id string) int {
	if c, err := hostcgroup.Plan(&specs.Spec{}, id, hostcgroup.Options{}); err == nil {
		c.RemoveAbandoned(isKept)
	}
	io.Copy(io.Discard, os.Stdin)
	store := container.NewStore(root, container.DefaultWalls)
	// A create that was killed may have left something that takes a moment to end.
	for range 50 {
		err := store.Delete(id, true)
		if err == nil || errors.Is(err, container.ErrNotExist) {
			return 0
		}
		time.Sleep(20 * time.Millisecond)
	}
	return exitUsage
}
