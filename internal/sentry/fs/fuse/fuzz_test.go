package fuse

import (
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// FuzzAnswer has a hostile server write what it likes while one request of each
// kind waits.
func FuzzAnswer(f *testing.F) {
	f.Add(uint8(opLookup), answerTo(4, 0, entryBody(2, unix.S_IFREG|0o600)))
	f.Add(uint8(opGetattr), answerTo(4, 0, append(body(nil).u64(1).u32(0, 0), attrBody(1, unix.S_IFDIR, 0)...)))
	f.Add(uint8(opReaddir), answerTo(4, 0, append(body(nil).u64(5, 1).u32(3, 8), "abc\x00\x00\x00\x00\x00"...)))
	f.Add(uint8(opListxattr), answerTo(4, 0, []byte("user.a\x00user.b\x00")))
	f.Add(uint8(opInit), answerTo(2, 0, initAnswer))
	f.Add(uint8(opStatfs), answerTo(4, 0, make([]byte, statfsSize)))
	f.Add(uint8(opOpen), []byte(body(nil).u32(40, notifyInvalInode).u64(0, 1, 0, 0)))
	f.Add(uint8(opInterrupt), answerTo(5, unix.EAGAIN, nil))
	f.Fuzz(func(t *testing.T, op uint8, msg []byte) {
		c := newCaller()
		dev := &device{ns: c.cred.UserNS}
		c.files = []*vfs.FileDescription{vfs.NewDescription(dev, nil, vfs.Path{}, 0)}
		m, err := mount(vfs.MountRequest{Caller: c, Data: "fd=0,rootmode=40755,user_id=0,group_id=0"})
		if err != nil {
			t.Fatal(err)
		}
		fs := m.(*FileSystem)
		defer fs.Release()
		buf := make([]byte, 1<<18)
		if op != opInit {
			fs.cn.begin(initAnswer, nil)
		}
		fs.cn.send(uint32(op), fs.root, nil)
		for {
			if _, err := dev.Read(c, buf, 0); err != nil {
				break
			}
		}
		dev.Write(c, msg, 0, 0)
		dev.Write(c, msg, 0, 0)
		if len(msg) < outHeaderSize {
			return
		}
		reply := msg[outHeaderSize:]
		if e, err := parseEntry(reply); err == nil && e.node != 0 {
			n := fs.intern(&e)
			if n.kind != e.attr.Mode&unix.S_IFMT || e.attr.Size < 0 {
				t.Errorf("an entry became %+v", n.attr)
			}
			n.giveUp()
		}
		if a, _, err := parseAttrOut(reply); err == nil && (a.Size < 0 || !validType(a.Mode)) {
			t.Errorf("attributes %+v", a)
		}
		parseOpen(reply)
		parseStatfs(reply)
		if a, err := parseInit(reply); err == nil && (a.maxWrite < 4096 || a.maxWrite > maxData || a.maxRead < 4096 || a.maxRead > maxData) {
			t.Errorf("INIT agreed on %+v", a)
		}
		parseDirents(reply, func(e vfs.DirEntry) bool {
			if e.Name == "" || len(e.Name) > maxName {
				t.Errorf("an entry is named %q", e.Name)
			}
			return true
		})
		if names, err := parseNames(reply); err == nil {
			for _, n := range names {
				if n == "" {
					t.Error("an attribute has no name")
				}
			}
		}
	})
}
