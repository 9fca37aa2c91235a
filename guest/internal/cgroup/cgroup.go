// Package cgroup reads the container's own control group, of version 1 or 2.
package cgroup

import (
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
)

// Group is a control group as files show it.
type Group struct {
	root string
	v2   bool
	oom  func() *os.File
}

// Own is the container's.
var Own = sync.OnceValue(func() *Group { return Open("/sys/fs/cgroup", "/proc/self/cgroup") })

// Open finds a process's group in a hierarchy by what /proc says of the process. In a namespace of control groups, and
// where the engine mounts the container's own group, the root is the group; elsewhere the whole hierarchy is to be seen.
func Open(root, membership string) *Group {
	g := &Group{root: root}
	if _, err := os.Stat(path.Join(root, "cgroup.controllers")); err == nil {
		g.v2 = true
		g.root = path.Join(root, unified(membership))
		if _, err := os.Stat(path.Join(g.root, "cgroup.controllers")); err != nil {
			g.root = root
		}
	}
	// The counter of out-of-memory kills is read around every command, so its file stays open.
	g.oom = sync.OnceValue(func() *os.File {
		for _, name := range []string{"memory.events", "memory/memory.oom_control"} {
			if file, err := os.Open(path.Join(g.root, name)); err == nil {
				return file
			}
		}
		return nil
	})
	return g
}

// unified is the path of the line `0::<path>`.
func unified(membership string) string {
	data, _ := os.ReadFile(membership)
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "0::"); ok && !strings.Contains(name, "..") {
			return name
		}
	}
	return "/"
}

// V2 tells whether the hierarchy is the unified one.
func (g *Group) V2() bool { return g.v2 }

// Text is the content of the first of the files that is there.
func (g *Group) Text(names ...string) (string, bool) {
	for _, name := range names {
		if data, err := os.ReadFile(path.Join(g.root, name)); err == nil {
			return strings.TrimSpace(string(data)), true
		}
	}
	return "", false
}

// Number is a file with one number; -1 where there is none, or `max`.
func (g *Group) Number(names ...string) int64 {
	text, _ := g.Text(names...)
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return value
}

// Field is the number behind a key in a file of `key number` lines; -1 where there is none.
func (g *Group) Field(name, key string) int64 {
	text, _ := g.Text(name)
	return field(text, key)
}

func field(text, key string) int64 {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == key {
			if number, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
				return number
			}
		}
	}
	return -1
}

// MemoryPeak is the most memory the container ever had at once; -1 on kernels of version 2 that do not count it.
func (g *Group) MemoryPeak() int64 {
	return g.Number("memory.peak", "memory/memory.max_usage_in_bytes")
}

// OOMKills is how many processes of the container the kernel killed for want of memory; -1 where that is not told.
func (g *Group) OOMKills() int64 {
	file := g.oom()
	if file == nil {
		return -1
	}
	var buffer [512]byte
	count, _ := file.ReadAt(buffer[:], 0)
	return field(string(buffer[:count]), "oom_kill")
}
