// Package pty opens pseudo-terminals with the kernel's own calls.
package pty

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"rexec-guest/internal/fault"
)

const (
	getNumber = 0x80045430 // TIOCGPTN
	setLock   = 0x40045431 // TIOCSPTLCK
	getPeer   = 0x5441     // TIOCGPTPEER
	setSize   = 0x5414     // TIOCSWINSZ
)

// Open makes a pair: our end, which waits without holding a thread, and theirs. The latter belongs to uid.
func Open(cols, rows uint16, uid uint32) (*os.File, int, error) {
	fd, err := syscall.Open("/dev/ptmx", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		fd, err = syscall.Open("/dev/pts/ptmx", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, -1, fault.New(503, "no_terminal", "no terminal can be opened in the container: %s", err)
	}
	theirs, err := peer(fd)
	if err != nil {
		_ = syscall.Close(fd)
		return nil, -1, fault.New(503, "no_terminal", "no terminal can be opened in the container: %s", err)
	}
	_ = syscall.Fchown(theirs, int(uid), -1)
	ours := os.NewFile(uintptr(fd), "terminal")
	_ = Resize(ours, cols, rows)
	return ours, theirs, nil
}

func peer(fd int) (int, error) {
	var unlocked int32
	if err := ioctl(uintptr(fd), setLock, uintptr(unsafe.Pointer(&unlocked))); err != nil {
		return -1, err
	}
	const flags = syscall.O_RDWR | syscall.O_NOCTTY | syscall.O_CLOEXEC
	theirs, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), getPeer, flags)
	if errno == 0 {
		return int(theirs), nil
	}
	var number uint32
	if err := ioctl(uintptr(fd), getNumber, uintptr(unsafe.Pointer(&number))); err != nil {
		return -1, err
	}
	return syscall.Open(fmt.Sprintf("/dev/pts/%d", number), flags, 0)
}

func ioctl(fd, request, argument uintptr) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, argument); errno != 0 {
		return errno
	}
	return nil
}

// Resize sets the size; the kernel tells the processes.
func Resize(ours *os.File, cols, rows uint16) error {
	raw, err := ours.SyscallConn()
	if err != nil {
		return err
	}
	size := [4]uint16{rows, cols, 0, 0}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = ioctl(fd, setSize, uintptr(unsafe.Pointer(&size)))
	})
	if err != nil {
		return err
	}
	return failed
}
