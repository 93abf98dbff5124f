package netlink

import (
	"encoding/binary"
	"strings"

	"coffer/internal/sentry/socket/unixsock"

	"golang.org/x/sys/unix"
)

// What a request may ask for beside the socket (UDIAG_SHOW_*), and the attributes that answer it.
const (
	unixShowName  = 0x1
	unixShowFile  = 0x2
	unixShowPeer  = 0x4
	unixShowQueue = 0x10
	unixShowUID   = 0x40

	unixName     = 0
	unixFile     = 1
	unixPeer     = 2
	unixQueue    = 4
	unixShutdown = 6
	unixUID      = 7
)

// diagUnix answers for AF_UNIX: struct unix_diag_req.
func (s *Socket) diagUnix(c Caller, r *request, dump bool) (bool, error) {
	const sizeofRequest = 24
	if len(r.body) < sizeofRequest {
		return false, unix.EINVAL
	}
	states, inode, show := binary.LittleEndian.Uint32(r.body[4:]), binary.LittleEndian.Uint32(r.body[8:]), binary.LittleEndian.Uint32(r.body[12:])
	if !dump && inode == 0 {
		return false, unix.EINVAL
	}
	var list []unixsock.Info
	for _, i := range s.ns.Unix.Sockets() {
		if dump && states&(1<<unixState(&i)) != 0 || !dump && uint32(i.Ino) == inode {
			list = append(list, i)
		}
	}
	return s.answerDiag(r, dump, len(list), func(w *builder, n int) {
		i := &list[n]
		w.u8(unix.AF_UNIX, uint8(i.Type), unixState(i), 0)
		w.u32(uint32(i.Ino))
		w.u64(i.Ino)
		if show&unixShowName != 0 && i.Name != "" {
			name := []byte(i.Name)
			if abstract, ok := strings.CutPrefix(i.Name, "@"); ok {
				name = append([]byte{0}, abstract...)
			}
			w.attr(unixName, name)
		}
		if show&unixShowFile != 0 && i.FileIno != 0 {
			w.attr(unixFile, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(i.FileIno)), i.FileDev))
		}
		if show&unixShowPeer != 0 && i.Peer != 0 {
			w.attr32(unixPeer, uint32(i.Peer))
		}
		if show&unixShowQueue != 0 {
			w.attr(unixQueue, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, i.ReceiveQueue), i.SendQueue))
		}
		if show&unixShowUID != 0 {
			w.attr32(unixUID, c.Credentials().UserNS.FromUID(i.UID))
		}
		w.attr8(unixShutdown, i.Shutdown)
	})
}

// unixState is a local socket's state, in the numbers of TCP's.
func unixState(i *unixsock.Info) uint8 {
	switch {
	case i.Listening:
		return stateListen
	case i.Peer != 0:
		return stateEstablished
	}
	return stateClosed
}
