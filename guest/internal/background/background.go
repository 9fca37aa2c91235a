// Package background keeps commands that nobody waits for, with the last of their output.
package background

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"regexp"
	"sort"
	"sync"
	"syscall"
	"time"

	"rexec-guest/internal/exec"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/ring"
)

const (
	ringSize    = 256 << 10
	keepEnded   = 100
	mostRunning = 256
)

// Process is one command.
type Process struct {
	id      string
	argv    []string
	user    string
	cwd     string
	started time.Time
	running *exec.Running

	lock   sync.Mutex
	stdout *ring.Ring
	stderr *ring.Ring
	end    *exec.End
	ended  chan struct{}
	stop   context.CancelFunc
}

// Item is how a process is told of.
type Item struct {
	ID           string    `json:"id"`
	Pid          int       `json:"pid"`
	Argv         []string  `json:"argv"`
	User         string    `json:"user"`
	Cwd          string    `json:"cwd"`
	Started      time.Time `json:"started_at"`
	Running      bool      `json:"running"`
	ExitCode     *int      `json:"exit_code,omitempty"`
	Reason       string    `json:"reason,omitempty"`
	MemoryPeak   int64     `json:"memory_peak,omitempty"`
	StdoutOffset int64     `json:"stdout_offset"`
	StderrOffset int64     `json:"stderr_offset"`
}

// Table is all of them.
type Table struct {
	lock  sync.Mutex
	known map[string]*Process
}

// NewTable makes an empty table.
func NewTable() *Table { return &Table{known: map[string]*Process{}} }

// Request is the body of `POST /v1/processes`. Who chooses the id may ask again: the process of that id is found, not
// started a second time.
type Request struct {
	exec.Request
	ID string `json:"id"`
}

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Start runs a command and returns at once.
func (table *Table) Start(request *Request) (*Process, error) {
	id := request.ID
	if id == "" {
		id = random()
	}
	if !validID.MatchString(id) {
		return nil, fault.BadRequest("no such id: %q", id)
	}
	table.lock.Lock()
	defer table.lock.Unlock()
	if known := table.known[id]; known != nil {
		return known, nil
	}
	if table.prune() >= mostRunning {
		return nil, fault.New(429, "too_many_processes", "%d processes run already", mostRunning)
	}
	running, err := exec.Start(&request.Request)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Process{
		id: id, argv: request.Argv, user: running.User, cwd: running.Dir, started: time.Now(),
		running: running, stdout: ring.New(ringSize), stderr: ring.New(ringSize), ended: make(chan struct{}), stop: stop,
	}
	table.known[p.id] = p
	go p.follow(ctx, &request.Request)
	return p, nil
}

func random() string {
	var bytes [8]byte
	_, _ = rand.Read(bytes[:])
	return hex.EncodeToString(bytes[:])
}

// follow keeps the output until the end.
func (p *Process) follow(ctx context.Context, request *exec.Request) {
	keep := func(into *ring.Ring) func([]byte) error {
		return func(part []byte) error {
			p.lock.Lock()
			defer p.lock.Unlock()
			into.Write(part)
			return nil
		}
	}
	end := p.running.Follow(ctx, time.Duration(request.TimeoutMS)*time.Millisecond, keep(p.stdout), keep(p.stderr))
	p.lock.Lock()
	p.end = &end
	p.lock.Unlock()
	close(p.ended)
	p.stop()
}

// prune drops the oldest of the ended ones beyond those that are kept, and counts the running ones.
func (table *Table) prune() int {
	var ended []*Process
	for _, p := range table.known {
		if p.over() {
			ended = append(ended, p)
		}
	}
	running := len(table.known) - len(ended)
	sort.Slice(ended, func(i, j int) bool { return ended[i].started.Before(ended[j].started) })
	for len(ended) > keepEnded {
		delete(table.known, ended[0].id)
		ended = ended[1:]
	}
	return running
}

func (p *Process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Item tells of the process now.
func (p *Process) Item() Item {
	p.lock.Lock()
	defer p.lock.Unlock()
	item := Item{
		ID: p.id, Pid: p.running.Pid(), Argv: p.argv, User: p.user, Cwd: p.cwd, Started: p.started.UTC(),
		Running: p.end == nil, StdoutOffset: p.stdout.End(), StderrOffset: p.stderr.End(),
	}
	if p.end != nil {
		item.ExitCode, item.Reason, item.MemoryPeak = &p.end.ExitCode, p.end.Reason, p.end.MemoryPeak
	}
	return item
}

// List is all of them by age.
func (table *Table) List() []Item {
	table.lock.Lock()
	table.prune()
	items := make([]Item, 0, len(table.known))
	for _, p := range table.known {
		items = append(items, p.Item())
	}
	table.lock.Unlock()
	sort.Slice(items, func(i, j int) bool { return items[i].Started.Before(items[j].Started) })
	return items
}

// Get finds one.
func (table *Table) Get(id string) (*Process, error) {
	table.lock.Lock()
	defer table.lock.Unlock()
	if p := table.known[id]; p != nil {
		return p, nil
	}
	return nil, fault.NotFound("no process %q", id)
}

// Remove ends one, with all that descends from it, and forgets it.
func (table *Table) Remove(id string) error {
	p, err := table.Get(id)
	if err != nil {
		return err
	}
	p.stop()
	<-p.ended
	table.lock.Lock()
	defer table.lock.Unlock()
	delete(table.known, id)
	return nil
}

// Logs are the bytes of a stream that are still kept from an offset on: they begin at from.
func (p *Process) Logs(stream string, offset int64) (data []byte, from, end int64, err error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	kept := p.stdout
	switch stream {
	case "", "stdout":
	case "stderr":
		kept = p.stderr
	default:
		return nil, 0, 0, fault.BadRequest("no stream %q", stream)
	}
	from, end = max(offset, kept.Oldest()), kept.End()
	if from > end {
		return nil, 0, 0, fault.New(416, "range", "the stream has %d bytes", end)
	}
	data = make([]byte, end-from)
	kept.Read(from, data)
	return data, from, end, nil
}

// Signal signals its process group.
func (p *Process) Signal(signal syscall.Signal) error {
	if p.running.Signal(signal) != nil {
		return &os.PathError{Op: "signal", Path: p.id, Err: syscall.ENOENT}
	}
	return nil
}

// Wait waits for the end.
func (p *Process) Wait(ctx context.Context, timeout time.Duration) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
}
