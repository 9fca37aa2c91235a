package terminal

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sort"
	"sync"
	"syscall"
	"time"

	"rexec-guest/internal/cgroup"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/feed"
	"rexec-guest/internal/launch"
	"rexec-guest/internal/modes"
	"rexec-guest/internal/pty"
	"rexec-guest/internal/ring"
)

const (
	maxTerminals = 20
	// keepEnded is how many ended shells are kept, for those who come back for the last output and the exit code.
	keepEnded = 4
)

// Table is all terminals.
type Table struct {
	lock  sync.Mutex
	named map[string]*Terminal
	ended []*Terminal
}

// NewTable makes an empty table.
func NewTable() *Table { return &Table{named: map[string]*Terminal{}} }

// Item is how a terminal is listed.
type Item struct {
	Name    string `json:"name"`
	Epoch   string `json:"epoch"`
	Pid     int    `json:"pid"`
	Command string `json:"command"`
	Size
	Offset   int64     `json:"offset"`
	Oldest   int64     `json:"oldest"`
	Attached int       `json:"attached"`
	Editors  int       `json:"editors"`
	Created  time.Time `json:"created_at"`
	Used     time.Time `json:"last_used_at"`
	Exited   *End      `json:"exited,omitempty"`
}

// List is all terminals, those that ended a while ago too, by age.
func (table *Table) List() []Item {
	table.lock.Lock()
	all := append([]*Terminal{}, table.ended...)
	for _, t := range table.named {
		all = append(all, t)
	}
	table.lock.Unlock()
	items := make([]Item, 0, len(all))
	for _, t := range all {
		items = append(items, t.item())
	}
	sort.Slice(items, func(i, j int) bool { return items[i].Created.Before(items[j].Created) })
	return items
}

func (t *Terminal) item() Item {
	t.lock.Lock()
	defer t.lock.Unlock()
	item := Item{
		Name: t.name, Epoch: t.epoch, Pid: t.child.Pid, Command: t.command, Size: t.size, Offset: t.ring.End(),
		Oldest: t.ring.Oldest(), Attached: len(t.attached), Created: t.created.UTC(), Used: t.used.UTC(), Exited: t.end,
	}
	for a := range t.attached {
		if a.editor {
			item.Editors++
		}
	}
	return item
}

// Close ends a shell.
func (table *Table) Close(name string) error {
	table.lock.Lock()
	t := table.named[name]
	table.lock.Unlock()
	if t == nil {
		return fault.NotFound("no terminal %q", name)
	}
	t.hangup("closed")
	return nil
}

// HangUp ends all shells.
func (table *Table) HangUp() {
	table.lock.Lock()
	defer table.lock.Unlock()
	for _, t := range table.named {
		t.hangup("closed")
	}
}

// open finds the terminal that is meant, or starts it.
func (table *Table) open(name string, wanted *attachMessage) (*Terminal, bool, error) {
	table.lock.Lock()
	defer table.lock.Unlock()
	if wanted.New {
		name = table.free(name)
	}
	if t := table.named[name]; t != nil {
		if t.ended() == nil {
			return t, false, nil
		}
		table.setAside(t)
	}
	if wanted.Epoch != "" {
		for _, t := range table.ended {
			if t.name == name && t.epoch == wanted.Epoch {
				return t, false, nil
			}
		}
	}
	if wanted.Create != nil && !*wanted.Create {
		return nil, false, fault.NotFound("no terminal %q", name)
	}
	most := wanted.MaxTerminals
	if most <= 0 {
		most = maxTerminals
	}
	if len(table.named) >= most {
		return nil, false, fault.New(429, "too_many_terminals", "there are %d terminals already", len(table.named))
	}
	t, err := start(name, wanted)
	if err != nil {
		return nil, false, err
	}
	table.named[name] = t
	go func() {
		t.read()
		table.retire(t)
	}()
	return t, true, nil
}

func (table *Table) free(name string) string {
	candidate := name
	for count := 2; table.named[candidate] != nil; count++ {
		candidate = fmt.Sprintf("%s-%d", name, count)
	}
	return candidate
}

func (table *Table) retire(t *Terminal) {
	table.lock.Lock()
	defer table.lock.Unlock()
	table.setAside(t)
}

// setAside keeps a shell that ended, once: who was told of its end may ask for a new one before it is retired.
func (table *Table) setAside(t *Terminal) {
	if table.named[t.name] != t {
		return
	}
	delete(table.named, t.name)
	table.ended = append(table.ended, t)
	if len(table.ended) > keepEnded {
		table.ended = append([]*Terminal{}, table.ended[1:]...)
	}
}

func start(name string, wanted *attachMessage) (*Terminal, error) {
	resolved, err := shell(name, wanted)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := pty.Open(wanted.Cols, wanted.Rows, resolved.Account.UID)
	if err != nil {
		return nil, err
	}
	var epoch [8]byte
	_, _ = rand.Read(epoch[:])
	now := time.Now()
	t := &Terminal{
		name: name, epoch: hex.EncodeToString(epoch[:]), command: resolved.Path, created: now, used: now, tty: ours,
		room: make(chan struct{}, 1), ring: ring.New(ringSize), modes: modes.New(),
		attached: map[*attachment]struct{}{}, size: wanted.Size, oomBefore: cgroup.Own().OOMKills(),
		input: feed.New(inputLimit),
	}
	fd := uintptr(theirs)
	t.child, err = resolved.Start([3]uintptr{fd, fd, fd}, true)
	_ = syscall.Close(theirs)
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	go t.input.Pump(t.tty)
	return t, nil
}

// shell resolves what runs in a terminal.
func shell(name string, wanted *attachMessage) (*launch.Launch, error) {
	spec := &launch.Spec{User: wanted.User, Cwd: wanted.Cwd, Env: map[string]string{
		"TERM": "xterm-256color", "COLORTERM": "truecolor",
	}}
	for variable, value := range wanted.Env {
		spec.Env[variable] = value
	}
	editor(spec.Env)
	argv, extra, err := choose(name, wanted.User, wanted.Shell)
	if err != nil {
		return nil, err
	}
	spec.Argv = argv
	for variable, value := range extra {
		spec.Env[variable] = value
	}
	return launch.Resolve(spec)
}
