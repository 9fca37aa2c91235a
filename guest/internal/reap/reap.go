// Package reap starts every process of the guest and owns every exit code: one loop waits for all children, those that
// were started here and the orphans that the container leaves to its init.
package reap

import (
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Child is a process that was started here.
type Child struct {
	Pid    int
	Mark   uint64 // which processes descend from it, see Start
	done   chan struct{}
	status syscall.WaitStatus
	ended  time.Time
}

var (
	// table guards children and stands between a fork and the reaping of what it made.
	table    sync.Mutex
	children = map[int]*Child{}
	nextMark uint64
	once     sync.Once
)

// markLimit is the resource limit that carries the mark: it concerns realtime scheduling only, which no process here
// has, it is inherited by all that descends from a process, and no environment needs to be touched for it.
const markLimit = 15 // RLIMIT_RTTIME

// markBase is each guest's own: guests may see one another's processes, as where containers share a PID namespace.
var markBase = uint64(1)<<61 | uint64(rand.Uint32N(1<<29))<<32

type limit struct{ soft, hard uint64 }

func prlimit(value, old *limit) bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, markLimit,
		uintptr(unsafe.Pointer(value)), uintptr(unsafe.Pointer(old)), 0, 0)
	return errno == 0
}

// Adopt makes orphans ours where we are not the init, and begins to reap.
func Adopt() {
	once.Do(func() {
		const setChildSubreaper = 36
		if os.Getpid() != 1 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
		}
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGCHLD)
		go func() {
			for {
				collect()
				<-ended
			}
		}()
	})
}

// collect takes every exit code there is.
func collect() {
	for {
		table.Lock()
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			table.Unlock()
			continue
		}
		if err != nil || pid <= 0 {
			table.Unlock()
			return
		}
		if child := children[pid]; child != nil {
			delete(children, pid)
			child.status = status
			child.ended = time.Now()
			close(child.done)
		}
		table.Unlock()
	}
}

// Start forks and executes. The lock is held meanwhile, so that a child can not be reaped before it is known (and so no
// more than one thread is ever held by a fork).
func Start(path string, argv []string, attr *syscall.ProcAttr) (*Child, error) {
	table.Lock()
	defer table.Unlock()
	nextMark++
	child := &Child{Mark: markBase + nextMark, done: make(chan struct{})}
	var before limit
	marked := prlimit(nil, &before)
	marked = marked && prlimit(&limit{child.Mark, before.hard}, nil)
	pid, err := syscall.ForkExec(path, argv, attr)
	if marked {
		prlimit(&before, nil)
	} else {
		child.Mark = 0
	}
	if err != nil {
		return nil, err
	}
	child.Pid = pid
	children[pid] = child
	return child, nil
}

// Done is closed when the process has ended and its exit code is known.
func (c *Child) Done() <-chan struct{} { return c.done }

// Status is how it ended; Done must be closed.
func (c *Child) Status() syscall.WaitStatus { return c.status }

// Ended is when it ended; Done must be closed.
func (c *Child) Ended() time.Time { return c.ended }

// Code is the exit code as a shell would tell it.
func (c *Child) Code() int {
	if c.status.Signaled() {
		return 128 + int(c.status.Signal())
	}
	return c.status.ExitStatus()
}

// Signal sends a signal to the process, or to its process group; a process that has ended gets none.
func (c *Child) Signal(signal syscall.Signal, group bool) error {
	table.Lock()
	defer table.Unlock()
	if children[c.Pid] != c {
		return syscall.ESRCH
	}
	if group {
		return syscall.Kill(-c.Pid, signal)
	}
	return syscall.Kill(c.Pid, signal)
}

// Alive tells how many processes that were started here have not ended.
func Alive() int {
	table.Lock()
	defer table.Unlock()
	return len(children)
}
