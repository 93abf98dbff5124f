package netlink

import (
	"golang.org/x/sys/unix"
)

// handleGeneric answers NETLINK_GENERIC: there is no family, beside the controller that says so.
func (s *Socket) handleGeneric(r *request) (bool, error) {
	if r.typ != unix.GENL_ID_CTRL {
		return false, unix.ENOENT
	}
	if len(r.body) < unix.GENL_HDRLEN {
		return false, unix.EINVAL
	}
	if r.body[0] != unix.CTRL_CMD_GETFAMILY {
		return false, unix.EOPNOTSUPP
	}
	if r.flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP {
		return s.dumpOf(r, func(w *builder) { s.controller(w, r, unix.NLM_F_MULTI) })
	}
	a, err := parseAttrs(r.body[unix.GENL_HDRLEN:], false)
	if err != nil {
		return false, err
	}
	name, named, err := a.text(unix.CTRL_ATTR_FAMILY_NAME, unix.GENL_NAMSIZ)
	switch {
	case err != nil:
		return false, err
	case named && name == "nlctrl":
	case len(a[unix.CTRL_ATTR_FAMILY_ID]) == 2 && a[unix.CTRL_ATTR_FAMILY_ID][0] == unix.GENL_ID_CTRL && a[unix.CTRL_ATTR_FAMILY_ID][1] == 0:
	default:
		return false, unix.ENOENT
	}
	s.reply(func(w *builder) { s.controller(w, r, 0) })
	return false, nil
}

// controller describes nlctrl itself.
func (s *Socket) controller(w *builder, r *request, flags uint16) {
	w.begin(unix.GENL_ID_CTRL, flags, r.seq, s.portID())
	w.u8(unix.CTRL_CMD_NEWFAMILY, 2, 0, 0)
	w.attrText(unix.CTRL_ATTR_FAMILY_NAME, "nlctrl")
	w.attr(unix.CTRL_ATTR_FAMILY_ID, []byte{unix.GENL_ID_CTRL, 0})
	w.attr32(unix.CTRL_ATTR_VERSION, 2)
	w.attr32(unix.CTRL_ATTR_HDRSIZE, 0)
	w.attr32(unix.CTRL_ATTR_MAXATTR, 10)
	w.end()
}
