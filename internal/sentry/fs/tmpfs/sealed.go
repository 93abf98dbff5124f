package tmpfs

import (
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const (
	fSealExec     = 0x20   // F_SEAL_EXEC
	oLargefile    = 0x8000 // O_LARGEFILE, which x/sys/unix has as 0
	mfdNoExecSeal = 0x8    // MFD_NOEXEC_SEAL
	knownSeals    = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW |
		unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE | fSealExec
)

func (c *contents) sealed(seals uint32) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.seals&seals != 0
}

// LinkName implements vfs.LinkNamer for files of memfd_create(2).
func (f *file) LinkName() string { return "/memfd:" + f.name + " (deleted)" }

// NewMemfd makes a file without a path for memfd_create(2), with the MFD_*
// flags that concern the file. The description has one reference.
func (fs *FS) NewMemfd(o vfs.Owner, name string, flags uint32) (*vfs.FileDescription, error) {
	if err := fs.chargeInode(); err != nil {
		return nil, err
	}
	mode := uint32(0o777)
	if flags&mfdNoExecSeal != 0 {
		mode = 0o666
	}
	f := fs.newFile(o, mode)
	f.nlink.Store(0)
	f.nameless.Store(true)
	f.name = name
	f.sealable = true
	switch {
	case flags&mfdNoExecSeal != 0:
		f.data.seals = fSealExec
	case flags&unix.MFD_ALLOW_SEALING == 0:
		f.data.seals = unix.F_SEAL_SEAL
	}
	open, err := f.Open(nil, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	return vfs.NewDescription(open, f, vfs.Path{}, unix.O_RDWR|oLargefile), nil
}

// AddSeals implements vfs.Sealer.
func (o *openFile) AddSeals(seals uint32) error {
	if !o.f.sealable || seals&^knownSeals != 0 {
		return unix.EINVAL
	}
	if seals&fSealExec != 0 && o.f.mode.Load()&0o111 != 0 {
		// What is to stay executable must not change any more.
		seals |= unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE
	}
	return o.f.data.addSeals(seals)
}

// Seals implements vfs.Sealer.
func (o *openFile) Seals() (uint32, error) {
	if !o.f.sealable {
		return 0, unix.EINVAL
	}
	o.f.data.mu.RLock()
	defer o.f.data.mu.RUnlock()
	return o.f.data.seals, nil
}
