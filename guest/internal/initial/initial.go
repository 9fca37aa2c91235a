// Package initial is what the guest does as the container's first process besides answering: threads ahead, the account
// `user`, the reaping of orphans, and a clean end.
package initial

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"rexec-guest/internal/launch"
	"rexec-guest/internal/proc"
	"rexec-guest/internal/reap"
	"rexec-guest/internal/terminal"
	"rexec-guest/internal/threads"
)

// grace is how long processes have to end by themselves when the container stops.
const grace = 5 * time.Second

// Begin prepares everything that must be there before the first request. The account is made in containers only.
func Begin(terminals *terminal.Table, contained bool) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	// Taken and dropped, not ignored: an ignored signal would stay ignored in every process that is started. Faults of
	// the guest's own still end it; only those that others send are dropped.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGQUIT, syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGTTOU, syscall.SIGTTIN,
		syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGSYS,
		syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGPWR, syscall.SIGIO, syscall.SIGSTKFLT, syscall.SIGPROF)
	reap.Adopt()
	threads.Prepare()
	launch.ProtectSelf()
	if contained && os.Geteuid() == 0 {
		ensureAccount()
		ensureScratch()
	}
	go func() {
		<-stop
		end(terminals)
	}()
}

// end stops the container: a hang-up to the terminals, TERM to all, and after the grace KILL.
func end(terminals *terminal.Table) {
	if os.Getpid() != 1 {
		terminals.HangUp()
		os.Exit(0)
	}
	terminals.HangUp()
	_ = syscall.Kill(-1, syscall.SIGTERM)
	_ = syscall.Kill(-1, syscall.SIGCONT)
	deadline := time.Now().Add(grace)
	for pause := time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, 50*time.Millisecond) {
		if len(proc.List()) == 0 {
			break
		}
		time.Sleep(pause)
	}
	_ = syscall.Kill(-1, syscall.SIGKILL)
	os.Exit(0)
}
