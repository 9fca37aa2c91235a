// Package terminal keeps shells on terminals of their own. They outlive every attachment; their output is numbered and
// kept in a ring, and whoever attaches gets it from where he was, or the present screen.
package terminal

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"rexec-guest/internal/cgroup"
	"rexec-guest/internal/feed"
	"rexec-guest/internal/modes"
	"rexec-guest/internal/proc"
	"rexec-guest/internal/pty"
	"rexec-guest/internal/reap"
	"rexec-guest/internal/ring"
)

const (
	ringSize   = 2 << 20
	window     = 512 << 10
	patience   = 5 * time.Second
	hangUp     = 2 * time.Second
	lingering  = 100 * time.Millisecond
	redrawing  = 60 * time.Millisecond
	redrawn    = 2 * time.Second
	screenTail = 64 << 10
	inputLimit = 256 << 10
)

// Terminal is one shell.
type Terminal struct {
	name    string
	epoch   string
	command string
	created time.Time
	child   *reap.Child
	tty     *os.File
	input   *feed.Feed
	room    chan struct{} // told when a reader that waits for its editors should look again

	lock      sync.Mutex
	ring      *ring.Ring
	modes     *modes.Tracker
	attached  map[*attachment]struct{}
	size      Size
	redraw    *time.Timer
	used      time.Time
	heard     time.Time     // of the shell
	life      time.Duration // of a silent shell that nobody is attached to; 0 is for ever
	aging     *time.Timer
	closing   string // the reason
	end       *End
	oomBefore int64
}

// Size is that of a screen.
type Size struct {
	Cols uint16 `json:"cols"`
	Rows uint16 `json:"rows"`
}

// End is how a shell ended.
type End struct {
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

// read takes the shell's output for as long as it lives.
func (t *Terminal) read() {
	go func() {
		<-t.child.Done()
		_ = t.tty.SetReadDeadline(time.Now().Add(lingering))
	}()
	buffer := make([]byte, 32<<10)
	for {
		t.waitForRoom()
		count, err := t.fill(buffer)
		t.output(buffer[:count])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.remainder(buffer)
		}
		if err != nil {
			break
		}
	}
	<-t.child.Done()
	t.finish()
}

// fill waits for output and takes all there is at once, for the kernel hands it out in small pieces.
func (t *Terminal) fill(buffer []byte) (int, error) {
	raw, err := t.tty.SyscallConn()
	if err != nil {
		return 0, err
	}
	total := 0
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for total < len(buffer) {
			count, err := syscall.Read(int(fd), buffer[total:])
			if err == syscall.EINTR {
				continue
			}
			if err == syscall.EAGAIN {
				return total > 0
			}
			if err != nil || count <= 0 {
				failed = io.EOF
				return true
			}
			total += count
		}
		return true
	})
	if total > 0 {
		// What came before the end is handed over first; the end is found again.
		return total, nil
	}
	if err == nil {
		err = failed
	}
	return 0, err
}

// remainder is what the terminal still holds when its shell has ended and others keep it open.
func (t *Terminal) remainder(buffer []byte) {
	raw, err := t.tty.SyscallConn()
	if err != nil {
		return
	}
	for range 64 {
		count := 0
		err := raw.Control(func(fd uintptr) { count, _ = syscall.Read(int(fd), buffer) })
		if err != nil || count <= 0 {
			return
		}
		t.output(buffer[:count])
	}
}

func (t *Terminal) output(data []byte) {
	if len(data) == 0 {
		return
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	t.heard = time.Now()
	t.modes.Feed(data, t.ring.End())
	t.ring.Write(data)
	for a := range t.attached {
		a.wake()
	}
}

// waitForRoom returns when no editor is too far behind, and at once when the shell has ended.
func (t *Terminal) waitForRoom() {
	for {
		wait := t.slowest(time.Now())
		if wait <= 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-t.room:
		case <-timer.C:
		case <-t.child.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// slowest is how long at most the editors that are behind may still be waited for; those that had their time are not.
func (t *Terminal) slowest(now time.Time) time.Duration {
	t.lock.Lock()
	defer t.lock.Unlock()
	wait := time.Duration(0)
	for a := range t.attached {
		if !a.editor || a.ignored || t.ring.End()-a.acked < a.ahead() {
			continue
		}
		if a.stalled.IsZero() {
			a.stalled = now
		}
		left := patience - now.Sub(a.stalled)
		if left <= 0 {
			a.ignored = true
			continue
		}
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return wait
}

// ahead is how far the shell may be ahead of an editor: farther while what the editor acknowledges waits behind its input.
func (a *attachment) ahead() int64 {
	if a.pasting {
		return ringSize - window
	}
	return window
}

func (t *Terminal) finish() {
	t.lock.Lock()
	defer t.lock.Unlock()
	end := &End{Code: t.child.Code(), Reason: "exited"}
	switch {
	case t.closing != "":
		end.Reason = t.closing
	case t.child.Status().Signaled():
		end.Reason = "signaled"
		if t.child.Status().Signal() == syscall.SIGKILL && t.oomBefore >= 0 && cgroup.Own().OOMKills() > t.oomBefore {
			end.Reason = "out_of_memory"
		}
	}
	t.end = end
	for _, timer := range []*time.Timer{t.redraw, t.aging} {
		if timer != nil {
			timer.Stop()
		}
	}
	t.input.Abort()
	_ = t.tty.Close()
	for a := range t.attached {
		a.wake()
	}
}

// ended is how the shell ended; nil while it lives.
func (t *Terminal) ended() *End {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.end
}

// hangup ends the shell: politely, and after a while with all that descends from it.
func (t *Terminal) hangup(reason string) {
	t.lock.Lock()
	if t.closing == "" {
		t.closing = reason
	}
	t.lock.Unlock()
	_ = t.child.Signal(syscall.SIGHUP, true)
	_ = t.child.Signal(syscall.SIGCONT, true)
	go func() {
		select {
		case <-t.child.Done():
		case <-time.After(hangUp):
		}
		proc.KillTree(t.child, hangUp)
	}()
}

// fit gives the terminal the smallest size among its editors.
func (t *Terminal) fit() {
	size := Size{}
	for a := range t.attached {
		if !a.editor {
			continue
		}
		if size.Cols == 0 || a.size.Cols < size.Cols {
			size.Cols = a.size.Cols
		}
		if size.Rows == 0 || a.size.Rows < size.Rows {
			size.Rows = a.size.Rows
		}
	}
	if size.Cols == 0 || size == t.size || t.end != nil {
		return
	}
	t.size = size
	t.modes.Resized()
	_ = pty.Resize(t.tty, size.Cols, size.Rows)
	for a := range t.attached {
		a.resized = true
		a.wake()
	}
}

// forceRedraw makes a full-screen program draw everything: a change of size and, when it has seen that, back.
func (t *Terminal) forceRedraw() {
	if t.end != nil || t.size.Cols == 0 {
		return
	}
	other := t.size.Rows - 1
	if other == 0 {
		other = 2
	}
	_ = pty.Resize(t.tty, t.size.Cols, other)
	if t.redraw != nil {
		t.redraw.Stop()
	}
	began, from := time.Now(), t.ring.End()
	var back *time.Timer
	back = time.AfterFunc(redrawing, func() {
		t.lock.Lock()
		defer t.lock.Unlock()
		if t.end != nil || t.redraw != back {
			return
		}
		if t.ring.End() == from && time.Since(began) < redrawn {
			back.Reset(redrawing)
			return
		}
		_ = pty.Resize(t.tty, t.size.Cols, t.size.Rows)
	})
	t.redraw = back
}

// age ends the terminal when nobody was attached to it, and it said nothing, for as long as it may live so.
func (t *Terminal) age() {
	if t.aging != nil {
		t.aging.Stop()
	}
	if t.life <= 0 || len(t.attached) > 0 || t.end != nil {
		return
	}
	last := t.used
	if t.heard.After(last) {
		last = t.heard
	}
	left := t.life - time.Since(last)
	if left <= 0 {
		go t.hangup("idle")
		return
	}
	t.aging = time.AfterFunc(left, func() {
		t.lock.Lock()
		defer t.lock.Unlock()
		t.age()
	})
}

// screen is where the present screen begins in the ring, and what must be restored before.
func (t *Terminal) screen() (int64, []byte) { return t.modes.Screen(t.ring.Oldest(), screenTail) }
