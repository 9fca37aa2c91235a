// Package feed is a bounded queue of bytes between a connection and a process that may be slow to read them.
package feed

import (
	"io"
	"sync"
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

// Put waits for room; it says whether the bytes were taken.
func (f *Feed) Put(data []byte) bool {
	f.lock.Lock()
	defer f.lock.Unlock()
	for len(f.data) > 0 && len(f.data)+len(data) > f.limit && !f.ended && !f.aborted {
		f.changed.Wait()
	}
	if f.ended || f.aborted {
		return false
	}
	f.data = append(f.data, data...)
	f.changed.Broadcast()
	return true
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
