// Package feed is a bounded queue of bytes between a connection and a process that may be slow to read them.
package feed

import (
	"io"
	"sync"
	"time"
)

// Feed is safe for use from several goroutines.
type Feed struct {
	lock    sync.Mutex
	changed sync.Cond
	data    []byte
	limit   int
	ended   bool
	aborted bool
}

// New makes a queue of at most about limit bytes.
func New(limit int) *Feed {
	f := &Feed{limit: limit}
	f.changed.L = &f.lock
	return f
}

// Put waits for room, as long as the giver has not left, which is asked now and then; it says whether the bytes were
// taken.
func (f *Feed) Put(data []byte, left func() bool, every time.Duration) bool {
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.full(len(data)) && !f.wait(len(data), left, every) {
		return false
	}
	if f.ended || f.aborted {
		return false
	}
	f.data = append(f.data, data...)
	f.changed.Broadcast()
	return true
}

// Offer takes the bytes if there is room for them now.
func (f *Feed) Offer(data []byte) bool {
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.ended || f.aborted || f.full(len(data)) {
		return false
	}
	f.data = append(f.data, data...)
	f.changed.Broadcast()
	return true
}

func (f *Feed) full(more int) bool {
	return len(f.data) > 0 && len(f.data)+more > f.limit && !f.ended && !f.aborted
}

// wait says whether there is room in the end.
func (f *Feed) wait(more int, left func() bool, every time.Duration) bool {
	done := make(chan struct{})
	defer close(done)
	gone := false
	go func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			if left() {
				f.lock.Lock()
				gone = true
				f.changed.Broadcast()
				f.lock.Unlock()
				return
			}
		}
	}()
	for f.full(more) && !gone {
		f.changed.Wait()
	}
	return !gone
}

// End says that no more will come.
func (f *Feed) End() {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.ended = true
	f.changed.Broadcast()
}

// Abort drops everything and wakes everybody.
func (f *Feed) Abort() {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.aborted, f.data = true, nil
	f.changed.Broadcast()
}

func (f *Feed) take() ([]byte, bool) {
	f.lock.Lock()
	defer f.lock.Unlock()
	for len(f.data) == 0 && !f.ended && !f.aborted {
		f.changed.Wait()
	}
	data := f.data
	f.data = nil
	f.changed.Broadcast()
	return data, len(data) > 0
}

// Pump writes to target until the end or an error.
func (f *Feed) Pump(target io.Writer) {
	for {
		data, ok := f.take()
		if !ok {
			return
		}
		if _, err := target.Write(data); err != nil {
			f.Abort()
			return
		}
	}
}
