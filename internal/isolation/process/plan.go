package process

import (
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"coffer/internal/isolation/script"

	"golang.org/x/sys/unix"
)

// plan is a spawning as a script.
type plan struct {
	*spawning
	keeper, gateFD int
	script         *script.Script
	clone          script.CloneArgs
	fork           *script.Step // nil if one process is enough
	high           []int        // duplicates that were made for the child
}

func (p *plan) release() {
	if p.script != nil {
		p.script.Free()
	}
	for _, fd := range p.high {
		unix.Close(fd)
	}
}

// joinedFlags returns the kinds of namespaces that are joined.
func (p *plan) joinedFlags() int {
	flags := p.targetFlags
	for _, j := range p.join {
		flags |= j.flag
	}
	return flags
}

func (p *plan) write() error {
	kept := 4 + len(p.extra)
	var tasks []*os.File
	if p.entrance != nil {
		tasks = p.entrance.V1
	}
	s, err := script.New(32 + 2*len(p.join) + len(tasks) + 2*kept)
	if err != nil {
		return fmt.Errorf("preparing a new process: %w", err)
	}
	p.script = s
	old := p.joinedFlags()

	// Memory is shared with the child, which saves copying page tables, except
	// where Linux wants a process that shares it with none: to join a time
	// namespace, and to be in a new one from the start (before Linux 6.1).
	share := uint64(unix.CLONE_VM)
	if (p.fresh|old)&unix.CLONE_NEWTIME != 0 {
		share = 0
	}
	// Namespaces that are created together come with the process, if their
	// owner is the caller's user namespace or a new one among them. PID and
	// time namespaces that exist take effect in children only.
	once := old&(unix.CLONE_NEWUSER|unix.CLONE_NEWPID|unix.CLONE_NEWTIME) == 0 &&
		p.fresh&unix.CLONE_NEWTIME == 0 &&
		(p.fresh&unix.CLONE_NEWUSER == 0 || old == 0)
	// A cgroup namespace has its root where its creator is then, which must be
	// the container's cgroup.
	p.clone = script.CloneArgs{Flags: share}
	if p.entrance != nil && p.entrance.V2 != nil {
		p.clone.Flags |= unix.CLONE_INTO_CGROUP
		p.clone.Cgroup = uint64(p.entrance.V2.Fd())
	}
	if once {
		p.clone.Flags |= uint64(p.fresh &^ unix.CLONE_NEWCGROUP)
		p.clone.ExitSignal = uint64(unix.SIGCHLD)
	}

	s.Call("closing a descriptor", unix.SYS_CLOSE, uintptr(p.keeper))
	if p.gateFirst {
		p.passGate()
	}
	zero := s.Bytes([]byte("0"))
	for _, f := range tasks {
		s.Call("entering the cgroup "+f.Name(), unix.SYS_WRITE, f.Fd(), zero, 1)
	}
	if once {
		p.passGateLate()
		p.becomeRoot()
		p.joinTarget()
		p.joinEach()
	} else {
		p.joinTarget()
		p.joinAll()
		if p.fresh&unix.CLONE_NEWUSER != 0 {
			s.Call("creating a user namespace", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
		}
		if p.fresh&unix.CLONE_NEWTIME != 0 {
			s.Call("creating a time namespace", unix.SYS_UNSHARE, unix.CLONE_NEWTIME)
		}
		p.passGateLate()
		p.becomeRoot()
	}
	if p.fresh&unix.CLONE_NEWCGROUP != 0 {
		s.Call("creating a cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	}
	if !once {
		rest := p.fresh &^ (unix.CLONE_NEWUSER | unix.CLONE_NEWTIME | unix.CLONE_NEWCGROUP)
		// The second process is the caller's child as the first one is. Its
		// signal to the caller is that of the first one, none, until it executes.
		a := &script.CloneArgs{Flags: share | unix.CLONE_PARENT | uint64(rest)}
		p.fork = s.Call("creating a process in the namespaces", unix.SYS_CLONE3, s.CloneArgs(a), unsafe.Sizeof(*a))
	}
	if err := p.execute(); err != nil {
		return err
	}
	if p.fork != nil {
		end := s.Call("ending", unix.SYS_EXIT_GROUP, 0)
		p.fork.Forker = end.Address()
	}
	return nil
}

// passGateLate is passGate where the namespaces are there, unless that was first.
func (p *plan) passGateLate() {
	if !p.gateFirst {
		p.passGate()
	}
}

// passGate has the child wait until the gate's keeper has done its part.
func (p *plan) passGate() {
	if p.gate == nil {
		return
	}
	p.script.PassGate(p.gateFD)
}

// becomeRoot has the child become root of its user namespace, if that is not
// the caller's. It has all capabilities there, but would lose them when it
// executes.
func (p *plan) becomeRoot() {
	if (p.fresh|p.joinedFlags())&unix.CLONE_NEWUSER == 0 {
		return
	}
	p.script.Call("becoming group 0 of the user namespace (linux.gidMappings must map it)", unix.SYS_SETRESGID, 0, 0, 0)
	p.script.Call("becoming user 0 of the user namespace (linux.uidMappings must map it)", unix.SYS_SETRESUID, 0, 0, 0)
}

// joinTarget joins the namespaces of one process, all at once.
func (p *plan) joinTarget() {
	if p.target == nil {
		return
	}
	if p.targetFlags != 0 {
		p.script.Call("joining the container's namespaces", unix.SYS_SETNS, p.target.Fd(), uintptr(p.targetFlags))
	}
	if p.root != nil {
		p.script.Call("entering the container's root", unix.SYS_FCHDIR, p.root.Fd())
		p.script.Call("making the container's root the process's", unix.SYS_CHROOT, p.script.Text("."))
	}
}

// joinAll joins namespaces of different origins. Those that the user namespace
// to join does not own are open to the caller's privileges only, which end when
// it is joined; those that it does own are open to both, or, to a rootless
// caller, only afterwards. So each is tried before, and if need be after it.
func (p *plan) joinAll() {
	if p.joinedFlags()&unix.CLONE_NEWUSER == 0 || p.target != nil {
		p.joinEach()
		return
	}
	before := make(map[int]*script.Step)
	for _, j := range p.join {
		if j.flag != unix.CLONE_NEWUSER {
			st := p.joinOne(j)
			st.Want = script.WantAnything
			before[j.flag] = st
		}
	}
	for _, j := range p.join {
		if j.flag == unix.CLONE_NEWUSER {
			p.joinOne(j)
		}
	}
	for _, j := range p.join {
		if j.flag != unix.CLONE_NEWUSER {
			p.joinOne(j).UnlessDone = before[j.flag].ResultAddress()
		}
	}
}

func (p *plan) joinEach() {
	for _, j := range p.join {
		p.joinOne(j)
	}
}

func (p *plan) joinOne(j joined) *script.Step {
	return p.script.Call(j.what, unix.SYS_SETNS, j.file.Fd(), uintptr(j.flag))
}

// execute arranges the descriptors and executes init.
func (p *plan) execute() error {
	s := p.script
	list := []int{int(p.stdio[0].Fd()), int(p.stdio[1].Fd()), int(p.stdio[2].Fd())}
	for _, f := range p.extra {
		list = append(list, int(f.Fd()))
	}
	list = append(list, p.channel.fd)
	binary := int(p.binary.Fd())
	duplicates, err := s.Arrange(list, &binary)
	p.high = append(p.high, duplicates...)
	if err != nil {
		return err
	}
	s.GiveBackFileLimit()
	s.UnblockSignals()
	// An economy: a host that refuses it has a slower init and no more.
	s.Call("having init's threads woken later", unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, initSlack).Want = script.WantAnything
	channelFD := strconv.Itoa(len(list) - 1)
	s.Call("executing coffer's init", unix.SYS_EXECVEAT, uintptr(binary), s.Text(""),
		s.Texts([]string{"coffer", Role, channelFD}), s.Texts(initEnv), unix.AT_EMPTY_PATH)
	return nil
}
