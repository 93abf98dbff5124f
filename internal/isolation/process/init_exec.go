package process

import (
	"os"

	"coffer/internal/isolation/process/rootfs"
)

// exec becomes another program in a container that exists. Init has joined its
// namespaces, and its root is the container's.
func (p *initProcess) exec() error {
	if err := newSession(); err != nil {
		return err
	}
	if err := p.identity.Keyring(); err != nil {
		return err
	}
	var terminal []*os.File
	if p.todo.Terminal {
		master, err := p.openTerminal(rootfs.OpenPTMX)
		if err != nil {
			return err
		}
		terminal = []*os.File{master}
	}
	if _, _, err := p.say(sayReady, terminal...); err != nil {
		return err
	}
	closeAll(terminal)
	if err := p.become(); err != nil {
		return err
	}
	if err := outliveParent(); err != nil {
		return err
	}
	if _, _, err := p.say(sayCreated); err != nil {
		return err
	}
	_, err := p.execute()
	return err
}
