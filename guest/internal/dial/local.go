package dial

import (
	"io"
	"net"
	"os"
	"syscall"

	"rexec-guest/internal/http1"
)

// local is the socket that `rexec-guest dial` connects to, in the abstract namespace of the container's network.
const local = "@rexec-guest"

// always is a connection that may stay: its other end is a process of its own for every connection.
type always struct{}

func (always) Busy()      {}
func (always) Rest() bool { return true }

// Listen serves the processes that bridge connections for engines that share no file system with the server.
func Listen(handler http1.Handler) {
	listener, err := net.Listen("unix", local)
	if err != nil {
		return
	}
	turns := make(chan struct{}, most)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if !fromRoot(conn) {
			_ = conn.Close()
			continue
		}
		turns <- struct{}{}
		go func() {
			defer func() { <-turns }()
			http1.Serve(conn, always{}, handler)
		}()
	}
}

// fromRoot tells root, and the guest's own account where that is another, from all others.
func fromRoot(conn net.Conn) bool {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	root := false
	err = raw.Control(func(fd uintptr) {
		peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		root = err == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
	})
	return err == nil && root
}

// Bridge carries stdin and stdout to the guest until either ends.
func Bridge() error {
	conn, err := net.Dial("unix", local)
	if err != nil {
		return err
	}
	unix := conn.(*net.UnixConn)
	go func() {
		_, _ = io.Copy(unix, os.Stdin)
		_ = unix.CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, unix)
	return err
}
