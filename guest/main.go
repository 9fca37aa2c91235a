// rexec-guest is the daemon inside every container: its init, and the server's hand. docs/guest-protocol.md is what it speaks.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"rexec-guest/internal/api"
	"rexec-guest/internal/bridge"
	"rexec-guest/internal/dial"
	"rexec-guest/internal/initial"
	"rexec-guest/internal/terminal"
	"rexec-guest/internal/threads"
)

var version = "dev"

const runDirectory = "/.rexec/run"

func main() {
	if len(os.Args) != 2 {
		usage()
	}
	switch os.Args[1] {
	case "init":
		serve()
	case "dial":
		carry()
	case "version":
		fmt.Println(version)
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: rexec-guest init | dial | version")
	os.Exit(2)
}

// directory is where the sockets are; another place is for tests.
func directory() string {
	const name = "REXEC_GUEST_RUN"
	dir := os.Getenv(name)
	_ = os.Unsetenv(name)
	if dir == "" {
		return runDirectory
	}
	return dir
}

func serve() {
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(96 << 20)
	runtime.GOMAXPROCS(min(runtime.NumCPU(), 4))
	terminals := terminal.NewTable()
	dir := directory()
	initial.Begin(terminals, dir == runDirectory)
	handler := api.New(version, terminals)
	go dial.Listen(handler.Handle)
	go handler.Tidy()
	debug.FreeOSMemory()
	dial.New(dir, handler.Handle).Run()
}

// carry needs few threads, made ahead as the guest's are: it must live where the pids limit is reached.
func carry() {
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(48 << 20)
	runtime.GOMAXPROCS(min(runtime.NumCPU(), 2))
	threads.Ahead(6)
	if err := bridge.Carry(bridge.Pipe(0, "stdin"), bridge.Pipe(1, "stdout"), dial.Local); err != nil {
		fmt.Fprintln(os.Stderr, "rexec-guest:", err)
		os.Exit(1)
	}
}
