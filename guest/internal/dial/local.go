package dial

import (
	"net"
	"os"
	"syscall"
	"time"

	"rexec-guest/internal/http1"
)

// local is the socket that `rexec-guest dial` connects to, in the abstract namespace of the container's network.
const local = "@rexec-guest"

// patience is for a guest that has only just been started.
const patience = 5 * time.Second

// always is a connection that may stay: the bridge holds only those that the server opened.
type always struct{}

func (always) Busy()      {}
func (always) Rest() bool { return true }

// Listen serves the process that bridges connections for engines that share no file system with the server.
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

// Local is a connection to the guest of this container, which may still be about to listen.
func Local() (*net.UnixConn, error) {
	deadline := time.Now().Add(patience)
	for {
		conn, err := net.Dial("unix", local)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(minPause)
	}
}
