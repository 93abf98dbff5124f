package process

import (
	"errors"
	"fmt"
	"os"

	"coffer/internal/isolation/process/rootfs"
	"coffer/internal/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// startBacklog is how many commands may wait to ask whether the container has
// been started, or to start it, before Linux puts them off.
const startBacklog = 16

// create makes the container, waits for Start, and becomes its program, or runs
// it and returns its exit code.
func (p *initProcess) create() (int, error) {
	spec := p.spec
	if err := newSession(); err != nil {
		return 0, err
	}
	if err := p.identity.Keyring(); err != nil {
		return 0, err
	}
	if err := p.network(); err != nil {
		return 0, err
	}
	if err := setNames(spec); err != nil {
		return 0, err
	}
	terminal, err := p.makeRoot()
	if err != nil {
		return 0, err
	}
	if p.hostMounts != nil {
		if err := p.hostMounts.enter(); err != nil {
			return 0, err
		}
	}
	if _, _, err := p.say(sayReady, terminal...); err != nil {
		return 0, err
	}
	closeAll(terminal)
	if err := p.become(); err != nil {
		return 0, err
	}
	// From now on a command that asks finds that the program waits; and finds
	// this process by the socket's peer credentials, which listen(2) takes.
	if err := unix.Listen(int(p.start.Fd()), startBacklog); err != nil {
		return 0, fmt.Errorf("waiting for start: %w", err)
	}
	if err := outliveParent(); err != nil {
		return 0, err
	}
	if _, _, err := p.say(sayCreated); err != nil {
		return 0, err
	}
	p.channel.close()
	state, err := p.awaitStart()
	if err != nil {
		return 0, err
	}
	hooks := oci.StageHooks(spec.Hooks, oci.StartContainer)
	if err := oci.RunHooks(hooks, state, oci.StartContainer); err != nil {
		return 0, err
	}
	return p.execute()
}

// network brings up the loopback device of a new network namespace.
func (p *initProcess) network() error {
	if !newNamespace(p.spec, specs.NetworkNamespace) {
		return nil
	}
	return loopbackUp()
}

// setNames sets the host's and the domain's name. oci.Check has made sure that
// the UTS namespace is not the host's.
func setNames(spec *specs.Spec) error {
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return fmt.Errorf("hostname: sethostname %q: %w", spec.Hostname, err)
		}
	}
	if spec.Domainname != "" {
		if err := unix.Setdomainname([]byte(spec.Domainname)); err != nil {
			return fmt.Errorf("domainname: setdomainname %q: %w", spec.Domainname, err)
		}
	}
	return nil
}

// makeRoot makes the container's root file system and enters it. It returns the
// master of the terminal, if there is one.
func (p *initProcess) makeRoot() (terminal []*os.File, err error) {
	spec := p.spec
	w, files, err := p.hear(wordGo)
	if err != nil {
		return nil, err
	}
	if len(files) != len(w.Sources) {
		closeAll(files)
		return nil, errors.New("sources of mounts and their files differ in number: this is a bug in Coffer, please report it")
	}
	cfg := &rootfs.Config{Spec: spec, Bundle: p.todo.Bundle, NoPivot: p.todo.NoPivot, Sources: map[int]*os.File{}}
	for i, key := range w.Sources {
		cfg.Sources[key] = files[i]
	}
	root, err := rootfs.Prepare(cfg)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	w, _, err = p.say(sayPrepared)
	if err != nil {
		return nil, err
	}
	hooks := oci.StageHooks(spec.Hooks, oci.CreateContainer)
	if err := oci.RunHooks(hooks, w.State, oci.CreateContainer); err != nil {
		return nil, err
	}
	if err := root.Enter(); err != nil {
		return nil, err
	}
	if p.todo.Terminal {
		master, err := p.openTerminal(root.PTMX)
		if err != nil {
			return nil, err
		}
		terminal = []*os.File{master}
		if err := root.Console(os.Stdin); err != nil {
			return nil, err
		}
	}
	if err := root.MakeDirectory(cwd(spec.Process)); err != nil {
		return nil, fmt.Errorf("process.cwd: making the missing directory: %w", err)
	}
	if err := p.identity.Sysctls(); err != nil {
		return nil, err
	}
	return terminal, root.Finish()
}

// awaitStart waits until a command asks to start the program, and returns the
// state for hooks. From then on the channel leads to that command. Others come
// only to see whether somebody listens.
func (p *initProcess) awaitStart() (*specs.State, error) {
	for {
		var fd int
		err := ignoreEINTR(func() (err error) {
			fd, _, err = unix.Accept4(int(p.start.Fd()), unix.SOCK_CLOEXEC)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("waiting for start: %w", err)
		}
		var w word
		c := channel{fd}
		files, err := c.receive(&w)
		closeAll(files)
		if err != nil || w.Word != wordStart {
			c.close()
			continue
		}
		p.channel = c
		// That command may be gone already: the program starts nevertheless.
		c.send(&report{Say: sayStarting})
		return w.State, nil
	}
}
