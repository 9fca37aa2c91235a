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
	// how often the directory is looked at, with a connection and without one
	calm        = 2 * time.Second
	eager       = 250 * time.Millisecond
	mostSockets = 64
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

// Run looks for sockets for ever. It looks again and again instead of asking inotify, whose instances are few on a host
// and belong to the programs of the containers; while nothing changed in the directory a look is one system call.
func (d *Dialer) Run() {
	var seen syscall.Timespec
	for {
		var now syscall.Stat_t
		err := syscall.Stat(d.dir, &now)
		connected := d.connected()
		if err == nil && (now.Mtim != seen || !connected) {
			seen = now.Mtim
			d.scan()
		}
		if connected {
			time.Sleep(calm)
		} else {
			time.Sleep(eager)
		}
	}
}

// scan starts an endpoint for every new socket.
func (d *Dialer) scan() {
	entries, _ := os.ReadDir(d.dir)
	d.lock.Lock()
	defer d.lock.Unlock()
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".sock") || d.known[name] != nil || len(d.known) >= mostSockets {
			continue
		}
		e := &endpoint{dialer: d, name: name, wake: make(chan struct{}, 1)}
		d.known[name] = e
		go e.run()
	}
}

func (d *Dialer) connected() bool {
	d.lock.Lock()
	defer d.lock.Unlock()
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
