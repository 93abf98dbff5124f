package syscalls

import (
	"time"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func ioctlRows() []Row {
	return []Row{
		partial(16, "ioctl", sysIoctl, "the requests that the file at hand knows: terminals, pipes, sockets, network interfaces, TUN and TAP devices, seccomp listeners and the generic ones",
			P("fd", FD), PF("request", Enum, ioctlNames), PD("arg", ioctlArg)),
	}
}

// The ioctls that mean the same for every file (asm-generic/ioctls.h,
// linux/fs.h).
const (
	fionread  = 0x541b
	fionbio   = 0x5421
	fionclex  = 0x5450
	fioclex   = 0x5451
	fioasync  = 0x5452
	fioqsize  = 0x5460
	figetbsz  = 0x2
	fibmap    = 0x1
	fiClone   = 0x40049409
	fiCloneRg = 0x4020940d

	siocType = 0x89 // those of sockets (linux/sockios.h)
)

var ioctlNames = &FlagSet{Names: []FlagName{
	{fionread, "FIONREAD"}, {fionbio, "FIONBIO"}, {fionclex, "FIONCLEX"}, {fioclex, "FIOCLEX"},
	{fioasync, "FIOASYNC"}, {fioqsize, "FIOQSIZE"}, {figetbsz, "FIGETBSZ"}, {fibmap, "FIBMAP"},
	{fiClone, "FICLONE"}, {fiCloneRg, "FICLONERANGE"},
	{unix.TCGETS, "TCGETS"}, {unix.TCSETS, "TCSETS"}, {unix.TCSETSW, "TCSETSW"}, {unix.TCSETSF, "TCSETSF"},
	{unix.TCGETS2, "TCGETS2"}, {unix.TCSETS2, "TCSETS2"}, {unix.TCSETSW2, "TCSETSW2"}, {unix.TCSETSF2, "TCSETSF2"},
	{unix.TCGETA, "TCGETA"}, {unix.TCSETA, "TCSETA"}, {unix.TCSBRK, "TCSBRK"}, {unix.TCSBRKP, "TCSBRKP"},
	{unix.TCXONC, "TCXONC"}, {unix.TCFLSH, "TCFLSH"},
	{unix.TIOCGWINSZ, "TIOCGWINSZ"}, {unix.TIOCSWINSZ, "TIOCSWINSZ"}, {unix.TIOCGPGRP, "TIOCGPGRP"},
	{unix.TIOCSPGRP, "TIOCSPGRP"}, {unix.TIOCGSID, "TIOCGSID"}, {unix.TIOCSCTTY, "TIOCSCTTY"},
	{unix.TIOCNOTTY, "TIOCNOTTY"}, {unix.TIOCOUTQ, "TIOCOUTQ"}, {unix.TIOCSTI, "TIOCSTI"},
	{unix.TIOCGPTN, "TIOCGPTN"}, {unix.TIOCSPTLCK, "TIOCSPTLCK"}, {unix.TIOCGPTPEER, "TIOCGPTPEER"},
	{unix.TIOCPKT, "TIOCPKT"}, {unix.TIOCEXCL, "TIOCEXCL"}, {unix.TIOCNXCL, "TIOCNXCL"},
	{unix.SECCOMP_IOCTL_NOTIF_RECV, "SECCOMP_IOCTL_NOTIF_RECV"}, {unix.SECCOMP_IOCTL_NOTIF_SEND, "SECCOMP_IOCTL_NOTIF_SEND"},
	{0x40082102, "SECCOMP_IOCTL_NOTIF_ID_VALID"}, {0x40182103, "SECCOMP_IOCTL_NOTIF_ADDFD"},
	{unix.SIOCGIFCONF, "SIOCGIFCONF"}, {unix.SIOCGIFFLAGS, "SIOCGIFFLAGS"}, {unix.SIOCGIFINDEX, "SIOCGIFINDEX"},
	{unix.SIOCGIFNAME, "SIOCGIFNAME"}, {unix.SIOCGIFADDR, "SIOCGIFADDR"}, {unix.SIOCGIFNETMASK, "SIOCGIFNETMASK"},
	{unix.SIOCGIFBRDADDR, "SIOCGIFBRDADDR"}, {unix.SIOCGIFHWADDR, "SIOCGIFHWADDR"}, {unix.SIOCGIFMTU, "SIOCGIFMTU"},
	{unix.SIOCSIFFLAGS, "SIOCSIFFLAGS"}, {unix.SIOCSIFADDR, "SIOCSIFADDR"}, {unix.SIOCSIFNETMASK, "SIOCSIFNETMASK"},
	{unix.SIOCSIFMTU, "SIOCSIFMTU"}, {unix.SIOCSIFNAME, "SIOCSIFNAME"}, {unix.SIOCADDRT, "SIOCADDRT"}, {unix.SIOCDELRT, "SIOCDELRT"},
	{unix.SIOCETHTOOL, "SIOCETHTOOL"},
	{unix.TUNSETIFF, "TUNSETIFF"}, {unix.TUNGETIFF, "TUNGETIFF"}, {unix.TUNGETFEATURES, "TUNGETFEATURES"},
	{unix.TUNSETPERSIST, "TUNSETPERSIST"}, {unix.TUNSETOWNER, "TUNSETOWNER"}, {unix.TUNSETGROUP, "TUNSETGROUP"},
	{unix.TUNSETLINK, "TUNSETLINK"}, {unix.TUNSETOFFLOAD, "TUNSETOFFLOAD"}, {unix.TUNSETQUEUE, "TUNSETQUEUE"},
	{unix.TUNSETIFINDEX, "TUNSETIFINDEX"}, {unix.TUNSETCARRIER, "TUNSETCARRIER"}, {unix.TUNGETSNDBUF, "TUNGETSNDBUF"},
	{unix.TUNSETSNDBUF, "TUNSETSNDBUF"}, {unix.TUNGETVNETHDRSZ, "TUNGETVNETHDRSZ"}, {unix.TUNSETVNETHDRSZ, "TUNSETVNETHDRSZ"},
	{unix.TUNGETVNETLE, "TUNGETVNETLE"}, {unix.TUNSETVNETLE, "TUNSETVNETLE"}, {unix.TUNSETTXFILTER, "TUNSETTXFILTER"},
}}

func sysIoctl(t *kernel.Task, a kernel.Args) (uintptr, error) {
	fd, cmd, arg := a.Int(0), a.Uint(1), a[2]
	d, err := openedFile(t, fd)
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	switch cmd {
	case fioclex:
		t.FDs().SetCloexec(uint32(fd), uint32(fd), true)
		return 0, nil
	case fionclex:
		t.FDs().SetCloexec(uint32(fd), uint32(fd), false)
		return 0, nil
	case fionbio:
		return 0, setFlagByIoctl(t, d, fd, arg, unix.O_NONBLOCK)
	case fioasync:
		return 0, setFlagByIoctl(t, d, fd, arg, unix.O_ASYNC)
	}
	n, err := d.File.Ioctl(t, cmd, arg)
	if err == unix.EAGAIN {
		n, err = waitIoctl(t, d.File, cmd, arg)
	}
	if _, ok := d.File.(socket.Socket); ok && err == unix.ENOTTY && cmd>>8 == siocType {
		return 0, networkIoctl(t, d.File, cmd, arg)
	}
	if err == unix.ENOTTY {
		return fileIoctl(t, d, cmd, arg)
	}
	return n, err
}

// waitIoctl makes a request that said EAGAIN again once that makes sense, if it
// is one that waits.
func waitIoctl(t *kernel.Task, f vfs.File, cmd uint32, arg uint64) (n uintptr, err error) {
	b, ok := f.(vfs.BlockingController)
	if !ok || b.IoctlWaits(cmd) == 0 {
		return 0, unix.EAGAIN
	}
	err = waitFor(t, f, b.IoctlWaits(cmd), time.Time{}, func() error {
		n, err = f.Ioctl(t, cmd, arg)
		return err
	})
	return n, err
}

// setFlagByIoctl sets or clears a status flag as the int at arg says.
func setFlagByIoctl(t *kernel.Task, d *vfs.FileDescription, fd int32, arg uint64, flag uint32) error {
	on, err := t.CopyInUint32(arg)
	if err != nil {
		return err
	}
	flags := d.Flags() &^ flag
	if on != 0 {
		flags |= flag
	}
	return setStatusFlags(t, d, fd, flags)
}

// fileIoctl answers what Linux answers for every regular file.
func fileIoctl(t *kernel.Task, d *vfs.FileDescription, cmd uint32, arg uint64) (uintptr, error) {
	switch cmd {
	case fionread, figetbsz, fioqsize, fiClone, fiCloneRg:
	default:
		return 0, unix.ENOTTY
	}
	attr, err := d.Attr(t)
	if err != nil {
		return 0, err
	}
	regular := attr.Mode&unix.S_IFMT == unix.S_IFREG
	switch {
	case cmd == figetbsz && attr.BlockSize != 0:
		return 0, t.CopyOutUint32(arg, attr.BlockSize)
	case !regular:
		return 0, unix.ENOTTY
	case cmd == fionread:
		return 0, t.CopyOutUint32(arg, uint32(attr.Size-d.Offset()))
	case cmd == fioqsize:
		return 0, t.CopyOutUint64(arg, uint64(attr.Size))
	}
	return 0, unix.EOPNOTSUPP
}
