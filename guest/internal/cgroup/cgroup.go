// Package cgroup reads the container's own control group, of version 1 or 2.
package cgroup

import (
	"os"
	"strconv"
	"strings"
	"sync"
)

const root = "/sys/fs/cgroup/"

// V2 tells whether the hierarchy is the unified one.
var V2 = sync.OnceValue(func() bool {
	_, err := os.Stat(root + "cgroup.controllers")
	return err == nil
})

// Text is the content of the first of the files that is there.
func Text(paths ...string) (string, bool) {
	for _, path := range paths {
		if data, err := os.ReadFile(root + path); err == nil {
			return strings.TrimSpace(string(data)), true
		}
	}
	return "", false
}

// Number is a file with one number; -1 where there is none, or `max`.
func Number(paths ...string) int64 {
	text, ok := Text(paths...)
	if !ok {
		return -1
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return value
}

// Field is the number behind a key in a file of `key number` lines; -1 where there is none.
func Field(path, key string) int64 {
	text, _ := Text(path)
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

// MemoryPeak is the most memory the container ever had at once.
func MemoryPeak() int64 {
	return Number("memory.peak", "memory/memory.max_usage_in_bytes")
}

// The counter of out-of-memory kills is read around every command, so its file stays open.
var oomFile = sync.OnceValue(func() *os.File {
	for _, path := range []string{"memory.events", "memory/memory.oom_control"} {
		if file, err := os.Open(root + path); err == nil {
			return file
		}
	}
	return nil
})

// OOMKills is how many processes of the container the kernel killed for want of memory; -1 where that is not told.
func OOMKills() int64 {
	file := oomFile()
	if file == nil {
		return -1
	}
	var buffer [512]byte
	count, _ := file.ReadAt(buffer[:], 0)
	return field(string(buffer[:count]), "oom_kill")
}
