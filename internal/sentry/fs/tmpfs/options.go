package tmpfs

import (
	"fmt"
	"strconv"
	"strings"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func init() {
	vfs.RegisterFileSystemType(vfs.FileSystemType{Name: "tmpfs", Nested: true, Mount: func(r vfs.MountRequest) (vfs.FileSystem, error) {
		return mount(r.Caller.Credentials(), r.Data)
	}})
}

// mount makes a file system for who has cred: it is theirs unless an option,
// with IDs as their user namespace names them, says otherwise.
func mount(cred *auth.Credentials, data string) (vfs.FileSystem, error) {
	o, err := parseOptions(Options{UID: auth.NoID, GID: auth.NoID}, data)
	if err != nil {
		return nil, unix.EINVAL
	}
	for _, id := range []struct {
		option *uint32
		kind   auth.IDKind
		own    uint32
	}{{&o.UID, auth.UserID, cred.FSUID}, {&o.GID, auth.GroupID, cred.FSGID}} {
		if *id.option == auth.NoID {
			*id.option = id.own
		} else if *id.option = cred.UserNS.To(id.kind, *id.option); *id.option == auth.NoID {
			return nil, unix.EINVAL
		}
	}
	return New(o), nil
}

// ParseOptions reads the options of tmpfs(5): size, nr_blocks, nr_inodes,
// mode, uid and gid. Others that tmpfs has on Linux are taken and ignored.
func ParseOptions(data string) (Options, error) { return parseOptions(Options{}, data) }

// parseOptions is ParseOptions with defaults.
func parseOptions(o Options, data string) (Options, error) {
	for _, opt := range strings.Split(data, ",") {
		if opt == "" {
			continue
		}
		key, value, _ := strings.Cut(opt, "=")
		var err error
		switch key {
		case "size":
			o.Size, err = parseSize(value, 1)
		case "nr_blocks":
			o.Size, err = parseSize(value, pageSize)
		case "nr_inodes":
			o.Inodes, err = parseSize(value, 1)
		case "mode":
			var m uint64
			m, err = strconv.ParseUint(value, 8, 12)
			o.Mode = uint32(m)
		case "uid":
			o.UID, err = parseID(value)
		case "gid":
			o.GID, err = parseID(value)
		case "huge", "mpol", "inode32", "inode64", "noswap":
		default:
			return o, fmt.Errorf("tmpfs: unknown option %q", key)
		}
		if err != nil {
			return o, fmt.Errorf("tmpfs: option %q: %w", opt, err)
		}
	}
	return o, nil
}

// parseSize reads a number with an optional suffix k, m, g or %, times unit.
// 0 means no limit and is returned as -1.
func parseSize(s string, unit int64) (int64, error) {
	if p, ok := strings.CutSuffix(s, "%"); ok {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return 0, err
		}
		var si unix.Sysinfo_t
		if err := unix.Sysinfo(&si); err != nil {
			return 0, err
		}
		return int64(si.Totalram) * int64(max(si.Unit, 1)) / 100 * int64(n), nil
	}
	shift := 0
	if s != "" {
		switch s[len(s)-1] | 0x20 {
		case 'k':
			shift = 10
		case 'm':
			shift = 20
		case 'g':
			shift = 30
		case 't':
			shift = 40
		}
	}
	if shift > 0 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		return 0, err
	}
	if n < 0 || n > (1<<62)>>shift/unit {
		return 0, strconv.ErrRange
	}
	if n == 0 {
		return -1, nil
	}
	return n << shift * unit, nil
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// ShowOptions implements vfs.OptionShower.
func (fs *FS) ShowOptions() string {
	var s []string
	if fs.opts.Size > 0 {
		s = append(s, fmt.Sprintf("size=%dk", fs.maxPages*(pageSize/1024)))
	}
	if fs.opts.Inodes > 0 {
		s = append(s, fmt.Sprintf("nr_inodes=%d", fs.opts.Inodes))
	}
	if fs.opts.Mode != 0 {
		s = append(s, fmt.Sprintf("mode=%o", fs.opts.Mode))
	}
	if fs.opts.UID != 0 {
		s = append(s, fmt.Sprintf("uid=%d", fs.opts.UID))
	}
	if fs.opts.GID != 0 {
		s = append(s, fmt.Sprintf("gid=%d", fs.opts.GID))
	}
	return strings.Join(s, ",")
}
