// Package threads keeps the guest alive in a container whose pids limit is reached.
//
// The Go runtime ends the program when it needs another thread and gets none. So threads are made ahead, while there
// are pids to be had, and the calls that may hold one for long take one of a bounded number of slots first.
package threads

import (
	"runtime"
	"sync"
	"syscall"
)

// Slots is how many goroutines may be in slow system calls at once.
const Slots = 12

// spare threads beyond the slots: short calls that the kernel happens to preempt, the runtime's own.
const spare = 20

var slots = make(chan struct{}, Slots)

// Prepare makes the threads that the guest needs.
func Prepare() { Ahead(Slots + spare) }

// Ahead makes threads: each of them sits in a system call at the same time as the others, and afterwards stays in the
// runtime's pool of idle ones.
func Ahead(wanted int) {
	var ready, done sync.WaitGroup
	var gate [2]int
	if syscall.Pipe2(gate[:], syscall.O_CLOEXEC) != nil {
		return
	}
	ready.Add(wanted)
	done.Add(wanted)
	for range wanted {
		go func() {
			defer done.Done()
			runtime.LockOSThread()
			ready.Done()
			var one [1]byte
			_, _ = syscall.Read(gate[0], one[:])
			runtime.UnlockOSThread()
		}()
	}
	ready.Wait()
	_ = syscall.Close(gate[1])
	done.Wait()
	_ = syscall.Close(gate[0])
}

// Slow runs a call that may block in the kernel (a disk, a fork) in a slot.
func Slow(call func()) {
	slots <- struct{}{}
	defer func() { <-slots }()
	call()
}

// Slow1 is Slow for a call with a result.
func Slow1[T any](call func() (T, error)) (T, error) {
	slots <- struct{}{}
	defer func() { <-slots }()
	return call()
}
