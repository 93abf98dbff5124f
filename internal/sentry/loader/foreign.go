package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// machine is a kind of processor, other than the host's, whose programs run in
// an emulator of user mode, as binfmt_misc has it on Linux.
type machine struct {
	// class, data and id are EI_CLASS, EI_DATA and e_machine; see elf(5).
	class, data byte
	id          uint16
	// platform is what container images call it, qemu what QEMU does.
	platform, qemu string
}

// Values of EI_CLASS and EI_DATA.
const (
	elf32, elf64         = 1, 2
	elfLittle, elfBig    = 1, 2
	emulators            = "/usr/bin/qemu-"
	staticEmulatorSuffix = "-static"
)

// machines are those that images are made for.
var machines = []machine{
	{elf32, elfLittle, 3, "linux/386", "i386"},
	{elf32, elfLittle, 40, "linux/arm", "arm"},
	{elf64, elfLittle, 183, "linux/arm64", "aarch64"},
	{elf64, elfLittle, 243, "linux/riscv64", "riscv64"},
	{elf64, elfLittle, 21, "linux/ppc64le", "ppc64le"},
	{elf64, elfBig, 22, "linux/s390x", "s390x"},
	{elf32, elfLittle, 8, "linux/mipsle", "mipsel"},
	{elf64, elfLittle, 8, "linux/mips64le", "mips64el"},
	{elf64, elfLittle, 258, "linux/loong64", "loongarch64"},
}

// foreignMachine returns the machine that a program is for, if that is another
// one and known. head is the beginning of its file.
func foreignMachine(head []byte) *machine {
	if len(head) < 20 || !bytes.HasPrefix(head, []byte("\x7fELF")) {
		return nil
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if head[5] == elfBig {
		order = binary.BigEndian
	}
	if typ := order.Uint16(head[16:]); typ != typeExec && typ != typeDyn {
		return nil
	}
	id := order.Uint16(head[18:])
	for i := range machines {
		if m := &machines[i]; m.class == head[4] && m.data == head[5] && m.id == id {
			return m
		}
	}
	return nil
}

// ForeignError says that a program is for another machine, and that the
// sandbox has no emulator for it. To programs it is ENOEXEC, as on Linux where
// binfmt_misc knows none.
type ForeignError struct {
	// Platform is the machine as container images name it, such as
	// linux/arm64; Emulator is the file that would run the program.
	Platform, Emulator string
}

// Error says what is missing.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("a program for %s, and %s is missing", e.Platform, e.Emulator)
}

// Unwrap returns ENOEXEC.
func (e *ForeignError) Unwrap() error { return unix.ENOEXEC }

// openEmulator has the emulator of m run the program instead, as an entry of
// binfmt_misc with the flag P: arguments follow its name and path, argv[0]
// included, and AT_FLAGS tells so. The emulator is a file of the sandbox, so
// that what it may do and which one it is are the guest's own matter. A static
// one goes first: it needs no libraries of this machine.
func (i *Image) openEmulator(m *machine, name string) (path string, err error) {
	a := &i.args
	for _, path = range []string{emulators + m.qemu + staticEmulatorSuffix, emulators + m.qemu} {
		f, err := OpenExecutable(a.Caller, a.Mounts, a.Origin, path, 0)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return "", err
		}
		i.argv = append([]string{path, name}, i.argv...)
		i.emulated = true
		i.prog.DecRef()
		i.prog = f
		return path, nil
	}
	return "", &ForeignError{Platform: m.platform, Emulator: emulators + m.qemu + staticEmulatorSuffix}
}
