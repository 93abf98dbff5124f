package syscalls

import (
	"encoding/binary"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

const lsmCaveat = "there are no security modules beside capabilities"

func lsmRows() []Row {
	return []Row{
		partial(459, "lsm_get_self_attr", sysLsmGetSelfAttr, lsmCaveat, P("attr", Unsigned), P("ctx", LsmCtx), P("size", InOutInt), P("flags", Hex)),
		partial(460, "lsm_set_self_attr", sysLsmSetSelfAttr, lsmCaveat, P("attr", Unsigned), P("ctx", LsmCtx), P("size", Unsigned), P("flags", Hex)),
		partial(461, "lsm_list_modules", sysLsmListModules, lsmCaveat, P("ids", OutLong), P("size", InOutInt), P("flags", Hex)),
	}
}

// lsmCapability is LSM_ID_CAPABILITY, the module that is always there.
const lsmCapability = 100

// lsmCtxSize is the size of struct lsm_ctx without its context.
const lsmCtxSize = 32

func sysLsmListModules(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Uint(2) != 0 {
		return 0, unix.EINVAL
	}
	size, err := t.CopyInUint32(a[1])
	if err != nil {
		return 0, err
	}
	const need = 8
	if err := t.CopyOutUint32(a[1], need); err != nil {
		return 0, err
	}
	if size < need {
		return 0, unix.E2BIG
	}
	return 1, t.CopyOutUint64(a[0], lsmCapability)
}

// sysLsmGetSelfAttr answers what a kernel answers none of whose modules has
// attributes.
func sysLsmGetSelfAttr(t *kernel.Task, a kernel.Args) (uintptr, error) {
	const single = 1 // LSM_FLAG_SINGLE
	if a.Uint(0) == 0 || a[2] == 0 {
		return 0, unix.EINVAL
	}
	if _, err := t.CopyInUint32(a[2]); err != nil {
		return 0, err
	}
	if flags := a.Uint(3); flags != 0 {
		if flags != single || a[1] == 0 {
			return 0, unix.EINVAL
		}
		var ctx [lsmCtxSize]byte
		if _, err := t.CopyIn(a[1], ctx[:]); err != nil {
			return 0, err
		}
		if binary.LittleEndian.Uint64(ctx[:]) == 0 {
			return 0, unix.EINVAL
		}
	}
	if err := t.CopyOutUint32(a[2], 0); err != nil {
		return 0, err
	}
	return 0, unix.EOPNOTSUPP
}

func sysLsmSetSelfAttr(t *kernel.Task, a kernel.Args) (uintptr, error) {
	size := a.Uint(2)
	switch {
	case a.Uint(3) != 0, size < lsmCtxSize:
		return 0, unix.EINVAL
	case size > mm.PageSize:
		return 0, unix.E2BIG
	}
	var ctx [lsmCtxSize]byte
	if _, err := t.CopyIn(a[1], ctx[:]); err != nil {
		return 0, err
	}
	total, text := binary.LittleEndian.Uint64(ctx[16:]), binary.LittleEndian.Uint64(ctx[24:])
	if uint64(size) < total || total < lsmCtxSize || text > total-lsmCtxSize {
		return 0, unix.EINVAL
	}
	return 0, unix.EOPNOTSUPP
}
