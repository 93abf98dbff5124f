package mm

import (
	"bytes"
	"fmt"
	"strconv"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// PathNamer returns the name under which /proc shows a mapped file.
type PathNamer func(*vfs.FileDescription) string

// Maps renders /proc/PID/maps, proc_pid_maps(5).
func (m *MemoryManager) Maps(path PathNamer) []byte {
	rs := m.Regions()
	defer ReleaseRegions(rs)
	var b bytes.Buffer
	for i := range rs {
		rs[i].line(&b, path)
	}
	return b.Bytes()
}

// line writes the region's line of /proc/PID/maps.
func (r *Region) line(b *bytes.Buffer, path PathNamer) {
	var perm [4]byte
	copy(perm[:], "---p")
	for i, p := range [...]int32{unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC} {
		if r.Prot&p != 0 {
			perm[i] = "rwx"[i]
		}
	}
	if r.Shared {
		perm[3] = 's'
	}
	name := r.Name
	var major, minor uint32
	var ino uint64
	switch {
	case r.File != nil:
		if path != nil {
			name = path(r.File)
		}
		if r.File.Inode != nil {
			if a, err := r.File.Inode.Attr(); err == nil {
				major, minor, ino = a.DevMajor, a.DevMinor, a.Ino
			}
		}
	case r.SharedID != 0:
		minor, ino = 1, r.SharedID
	}
	start := b.Len()
	fmt.Fprintf(b, "%08x-%08x %s %08x %02x:%02x %d ", r.Start, r.End, perm[:], r.Offset, major, minor, ino)
	if name != "" {
		for b.Len()-start < 73 {
			b.WriteByte(' ')
		}
		for i := 0; i < len(name); i++ {
			if name[i] == '\n' {
				b.WriteString(`\012`)
			} else {
				b.WriteByte(name[i])
			}
		}
	}
	b.WriteByte('\n')
}

// SMaps renders /proc/PID/smaps. The host tells resident memory only for the
// address space as a whole, so each mapping's is shown as 0; SMapsRollup has
// the sums.
func (m *MemoryManager) SMaps(path PathNamer) []byte {
	rs := m.Regions()
	defer ReleaseRegions(rs)
	var b bytes.Buffer
	for i := range rs {
		r := &rs[i]
		r.line(&b, path)
		field(&b, "Size", r.End-r.Start)
		field(&b, "KernelPageSize", PageSize)
		field(&b, "MMUPageSize", PageSize)
		usageFields(&b, 0, 0, 0)
		field(&b, "Locked", 0)
		b.WriteString("THPeligible:           0\nVmFlags:")
		for _, f := range r.flagNames() {
			b.WriteString(" " + f)
		}
		b.WriteString(" \n")
	}
	return b.Bytes()
}

// SMapsRollup renders /proc/PID/smaps_rollup.
func (m *MemoryManager) SMapsRollup() []byte {
	rs := m.Regions()
	defer ReleaseRegions(rs)
	var b bytes.Buffer
	var start, end uint64
	if len(rs) > 0 {
		start, end = rs[0].Start, rs[len(rs)-1].End
	}
	fmt.Fprintf(&b, "%08x-%08x ---p 00000000 00:00 0 %*s[rollup]\n", start, end, 33, "")
	u := m.as.Usage()
	usageFields(&b, u.RSS, u.Anon, u.Shared)
	field(&b, "Locked", m.Totals().Locked)
	return b.Bytes()
}

// usageFields writes the lines about resident memory, from bytes.
func usageFields(b *bytes.Buffer, rss, anon, shared uint64) {
	clean := sub(rss, anon)
	field(b, "Rss", rss)
	field(b, "Pss", rss)
	field(b, "Pss_Dirty", anon)
	field(b, "Shared_Clean", clean)
	field(b, "Shared_Dirty", 0)
	field(b, "Private_Clean", 0)
	field(b, "Private_Dirty", anon)
	field(b, "Referenced", rss)
	field(b, "Anonymous", anon)
	field(b, "KSM", 0)
	field(b, "LazyFree", 0)
	field(b, "AnonHugePages", 0)
	field(b, "ShmemPmdMapped", 0)
	field(b, "FilePmdMapped", 0)
	field(b, "Shared_Hugetlb", 0)
	field(b, "Private_Hugetlb", 0)
	field(b, "Swap", 0)
	field(b, "SwapPss", 0)
}

// field writes one line in kB.
func field(b *bytes.Buffer, name string, bytes uint64) {
	n := strconv.FormatUint(bytes>>10, 10)
	b.WriteString(name + ":")
	for i := len(name) + 1 + len(n); i < 24; i++ {
		b.WriteByte(' ')
	}
	b.WriteString(n + " kB\n")
}

// flagNames are the two-letter names of smaps' VmFlags.
func (r *Region) flagNames() []string {
	var out []string
	for _, f := range []struct {
		set  bool
		name string
	}{
		{r.Prot&unix.PROT_READ != 0, "rd"}, {r.Prot&unix.PROT_WRITE != 0, "wr"}, {r.Prot&unix.PROT_EXEC != 0, "ex"},
		{r.Shared, "sh"}, {r.MaxProt&unix.PROT_READ != 0, "mr"}, {r.MaxProt&unix.PROT_WRITE != 0, "mw"},
		{r.MaxProt&unix.PROT_EXEC != 0, "me"}, {r.Shared, "ms"}, {r.GrowsDown, "gd"}, {r.Locked, "lo"},
		{r.DontFork, "dc"}, {r.Special, "de"}, {r.NoReserve, "nr"}, {r.WipeOnFork, "wf"}, {r.DontDump, "dd"},
	} {
		if f.set {
			out = append(out, f.name)
		}
	}
	return out
}
