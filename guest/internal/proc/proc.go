// Package proc reads what /proc tells about processes and ends whole trees of them.
package proc

import (
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rexec-guest/internal/reap"
)

// Process is a line of /proc.
type Process struct {
	Pid     int
	Parent  int
	Session int
	State   byte
	Command string
}

// List is all processes but the guest itself.
func List() []Process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	self := os.Getpid()
	found := make([]Process, 0, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == self {
			continue
		}
		if p, ok := read(pid); ok {
			found = append(found, p)
		}
	}
	return found
}

// read parses /proc/PID/stat: the command is in parentheses and may hold anything, parentheses too.
func read(pid int) (Process, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, false
	}
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 0 || end < open {
		return Process{}, false
	}
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 4 {
		return Process{}, false
	}
	parent, _ := strconv.Atoi(fields[1])
	session, _ := strconv.Atoi(fields[3])
	return Process{pid, parent, session, fields[0][0], string(data[open+1 : end])}, true
}

// Name is that of its program, by the first of its arguments: Command may be the name of a thread.
func (p *Process) Name() string {
	file, err := os.Open("/proc/" + strconv.Itoa(p.Pid) + "/cmdline")
	if err != nil {
		return p.Command
	}
	defer file.Close()
	var start [1024]byte
	count, _ := file.Read(start[:])
	program, _, _ := strings.Cut(string(start[:count]), "\x00")
	program, _, _ = strings.Cut(program, ": ") // what servers write there about themselves, as `nginx: master process`
	if program = strings.TrimPrefix(path.Base(program), "-"); program == "." || program == "/" || program == "" {
		return p.Command
	}
	return program
}

// mark is the mark that a process inherited from the child of ours that it descends from.
func mark(pid int) uint64 {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return 0
	}
	at := bytes.Index(data, []byte("Max realtime timeout"))
	if at < 0 {
		return 0
	}
	fields := strings.Fields(string(data[at+len("Max realtime timeout"):]))
	if len(fields) == 0 {
		return 0
	}
	value, _ := strconv.ParseUint(fields[0], 10, 64)
	return value
}

// family is those of the processes that belong to the child: itself, its session, its descendants, and what carries its
// mark; the dead are left out.
func family(child *reap.Child, known map[int]bool) []int {
	all := List()
	member := make(map[int]bool, len(known)+1)
	for pid := range known {
		member[pid] = true
	}
	for i := range all {
		p := &all[i]
		if p.Pid == child.Pid || p.Session == child.Pid || (child.Mark != 0 && mark(p.Pid) == child.Mark) {
			member[p.Pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for i := range all {
			if p := &all[i]; !member[p.Pid] && member[p.Parent] && p.Parent > 1 {
				member[p.Pid] = true
				grown = true
			}
		}
	}
	alive := make([]int, 0, len(member))
	for i := range all {
		if p := &all[i]; member[p.Pid] && p.State != 'Z' && p.State != 'X' {
			alive = append(alive, p.Pid)
		}
	}
	return alive
}

// KillTree ends a child of ours and everything that descends from it. All are stopped first, so that none can fork while
// the others die; it returns when no one is left, or after the time is up.
func KillTree(child *reap.Child, within time.Duration) {
	deadline := time.Now().Add(within)
	stopped := map[int]bool{}
	for time.Now().Before(deadline) {
		fresh := 0
		for _, pid := range family(child, stopped) {
			if !stopped[pid] {
				stopped[pid] = true
				fresh++
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
		if fresh == 0 {
			break
		}
	}
	pause := time.Millisecond
	for {
		left := family(child, nil)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return
		}
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}
