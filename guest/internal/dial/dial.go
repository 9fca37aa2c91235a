// Package dial keeps idle connections to every server replica whose socket is in the directory.
package dial

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"rexec-guest/internal/http1"
)

const (
	wanted   = 4
	surplus  = 8
	most     = 512
	minPause = 10 * time.Millisecond
	maxPause = time.Second
	steady   = time.Second
	rescan   = time.Second
)

// Dialer serves connections that it makes itself.
type Dialer struct {
	dir     string
	handler http1.Handler
	lock    sync.Mutex
	known   map[string]*endpoint
}

// New makes a dialer over a directory.
func New(dir string, handler http1.Handler) *Dialer {
	return &Dialer{dir: dir, handler: handler, known: map[string]*endpoint{}}
}

// Run looks for sockets for ever.
func (d *Dialer) Run() {
	changes := watch(d.dir)
	for {
		connected := d.scan()
		if changes == nil || !connected {
			select {
			case <-changes:
			case <-time.After(rescan):
			}
			if changes == nil {
				changes = watch(d.dir)
			}
			continue
		}
		<-changes
	}
}

// scan starts an endpoint for every new socket and says whether any of them is connected.
func (d *Dialer) scan() bool {
	entries, _ := os.ReadDir(d.dir)
	d.lock.Lock()
	defer d.lock.Unlock()
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".sock") || d.known[name] != nil {
			continue
		}
		e := &endpoint{dialer: d, name: name, wake: make(chan struct{}, 1)}
		d.known[name] = e
		go e.run()
	}
	for _, e := range d.known {
		if e.connected() {
			return true
		}
	}
	return false
}

func (d *Dialer) forget(e *endpoint) {
	d.lock.Lock()
	defer d.lock.Unlock()
	delete(d.known, e.name)
}

// watch tells of changes in the directory; nil where the kernel cannot.
func watch(dir string) <-chan struct{} {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	const mask = syscall.IN_CREATE | syscall.IN_MOVED_TO | syscall.IN_ATTRIB | syscall.IN_ONLYDIR
	if _, err = syscall.InotifyAddWatch(fd, dir, mask); err != nil {
		_ = syscall.Close(fd)
		return nil
	}
	file := os.NewFile(uintptr(fd), "inotify")
	changes := make(chan struct{}, 1)
	go func() {
		buffer := make([]byte, 4096)
		for {
			if _, err := file.Read(buffer); err != nil {
				_ = file.Close()
				return
			}
			notify(changes)
		}
	}()
	return changes
}

func notify(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// endpoint is one replica's socket.
type endpoint struct {
	dialer *Dialer
	name   string
	wake   chan struct{}
	lock   sync.Mutex
	idle   int
	total  int
	useful bool
	broken bool
}

func (e *endpoint) connected() bool {
	e.lock.Lock()
	defer e.lock.Unlock()
	return e.total > 0
}

// run keeps the idle connections until the socket is gone.
func (e *endpoint) run() {
	pause := minPause
	path := filepath.Join(e.dialer.dir, e.name)
	for {
		if !e.wants() {
			<-e.wake
			continue
		}
		raw, err := net.DialTimeout("unix", path, maxPause)
		if err == nil {
			e.lock.Lock()
			e.idle++
			e.total++
			e.lock.Unlock()
			go e.serve(raw)
		}
		useful, broken := e.judge()
		if useful {
			pause = minPause
		}
		if err == nil && !broken {
			continue
		}
		if _, missing := os.Lstat(path); missing != nil {
			e.dialer.forget(e)
			return
		}
		time.Sleep(pause)
		pause = min(2*pause, maxPause)
	}
}

func (e *endpoint) wants() bool {
	e.lock.Lock()
	defer e.lock.Unlock()
	return e.idle < wanted && e.total < most
}

// judge says whether, since it was last asked, connections proved useful, and whether some ended before they did.
func (e *endpoint) judge() (useful, broken bool) {
	e.lock.Lock()
	defer e.lock.Unlock()
	useful, broken = e.useful, e.broken
	e.useful, e.broken = false, false
	return useful, broken && !useful
}

func (e *endpoint) serve(raw net.Conn) {
	slot := &slot{endpoint: e, resting: true}
	born := time.Now()
	http1.Serve(raw, slot, e.dialer.handler)
	e.lock.Lock()
	if slot.resting {
		e.idle--
	}
	e.total--
	if slot.used || time.Since(born) > steady {
		e.useful = true
	} else {
		e.broken = true
	}
	e.lock.Unlock()
	notify(e.wake)
}

// slot is one connection's place among the idle ones.
type slot struct {
	endpoint *endpoint
	resting  bool
	used     bool
}

// Busy is the arrival of a request.
func (s *slot) Busy() {
	e := s.endpoint
	e.lock.Lock()
	if s.resting {
		s.resting = false
		e.idle--
	}
	s.used = true
	e.lock.Unlock()
	notify(e.wake)
}

// Rest says whether the connection may wait for another request.
func (s *slot) Rest() bool {
	e := s.endpoint
	e.lock.Lock()
	defer e.lock.Unlock()
	if !s.resting {
		if e.idle >= surplus {
			return false
		}
		s.resting = true
		e.idle++
	}
	return true
}
