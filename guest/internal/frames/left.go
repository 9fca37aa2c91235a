package frames

import (
	"net"
	"syscall"
	"time"
	"unsafe"
)

// Blink is how often a connection whose input must wait is asked whether the other side is still there.
const Blink = 500 * time.Millisecond

// Left tells whether the other side has gone away, though there may be input of its that nobody has read yet.
func Left(conn net.Conn) bool {
	able, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := able.SyscallConn()
	if err != nil {
		return true
	}
	left := false
	err = raw.Control(func(fd uintptr) { left = hungUp(int32(fd)) })
	return err != nil || left
}

func hungUp(fd int32) bool {
	const remote, hangUp, broken, invalid = 0x2000, 0x10, 0x8, 0x20
	question := struct {
		fd              int32
		events, revents int16
	}{fd: fd, events: remote}
	var now syscall.Timespec
	count, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&question)), 1,
		uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return errno == 0 && count == 1 && question.revents&(remote|hangUp|broken|invalid) != 0
}
