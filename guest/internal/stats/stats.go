// Package stats tells what the container uses, from its own control group.
package stats

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"rexec-guest/internal/cgroup"
)

// Stats is one moment; -1 stands for what cannot be read.
type Stats struct {
	CPUUsageNS  int64 `json:"cpu_usage_ns"`
	Memory      int64 `json:"memory"`
	MemoryLimit int64 `json:"memory_limit"`
	MemoryPeak  int64 `json:"memory_peak"`
	Pids        int64 `json:"pids"`
	PidsLimit   int64 `json:"pids_limit"`
	DiskUsage   int64 `json:"disk_usage"`
	DiskTotal   int64 `json:"disk_total"`
	NetRX       int64 `json:"net_rx"`
	NetTX       int64 `json:"net_tx"`
	DiskRead    int64 `json:"disk_read"`
	DiskWrite   int64 `json:"disk_write"`
	OOMKills    int64 `json:"oom_kills"`
}

// none is above every real limit: version 1 writes a huge number where there is no limit.
const none = int64(1) << 60

// Read takes the present numbers.
func Read() Stats {
	s := of(cgroup.Own())
	s.DiskUsage, s.DiskTotal = disk()
	s.NetRX, s.NetTX = network()
	return s
}

// of is what a control group counts.
func of(group *cgroup.Group) Stats {
	s := Stats{
		CPUUsageNS:  cpu(group),
		Memory:      memory(group),
		MemoryLimit: limit(group.Number("memory.max", "memory/memory.limit_in_bytes")),
		MemoryPeak:  group.MemoryPeak(),
		Pids:        group.Number("pids.current", "pids/pids.current"),
		PidsLimit:   limit(group.Number("pids.max", "pids/pids.max")),
		OOMKills:    group.OOMKills(),
	}
	s.DiskRead, s.DiskWrite = transfers(group)
	return s
}

func limit(value int64) int64 {
	if value >= none {
		return -1
	}
	return value
}

func cpu(group *cgroup.Group) int64 {
	if group.V2() {
		if used := group.Field("cpu.stat", "usage_usec"); used >= 0 {
			return used * 1000
		}
		return -1
	}
	return group.Number("cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage")
}

// memory is what is used without the part of the cache that the kernel gives back first.
func memory(group *cgroup.Group) int64 {
	used := group.Number("memory.current", "memory/memory.usage_in_bytes")
	if used < 0 {
		return -1
	}
	cache := group.Field("memory.stat", "inactive_file")
	if !group.V2() {
		cache = group.Field("memory/memory.stat", "total_inactive_file")
	}
	return max(used-max(cache, 0), 0)
}

func disk() (used, total int64) {
	var found syscall.Statfs_t
	if syscall.Statfs("/", &found) != nil {
		return -1, -1
	}
	size := int64(found.Bsize)
	return int64(found.Blocks-found.Bfree) * size, int64(found.Blocks) * size
}

func network() (received, sent int64) {
	data, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return -1, -1
	}
	for line := range strings.Lines(string(data)) {
		name, numbers, ok := strings.Cut(line, ":")
		fields := strings.Fields(numbers)
		if !ok || len(fields) < 9 || strings.TrimSpace(name) == "lo" {
			continue
		}
		received += number(fields[0])
		sent += number(fields[8])
	}
	return received, sent
}

func number(text string) int64 {
	value, _ := strconv.ParseInt(text, 10, 64)
	return value
}

func transfers(group *cgroup.Group) (read, written int64) {
	if text, ok := group.Text("io.stat"); ok {
		for field := range strings.FieldsSeq(text) {
			if value, ok := strings.CutPrefix(field, "rbytes="); ok {
				read += number(value)
			} else if value, ok := strings.CutPrefix(field, "wbytes="); ok {
				written += number(value)
			}
		}
		return read, written
	}
	text, ok := group.Text("blkio/blkio.throttle.io_service_bytes")
	if !ok {
		return -1, -1
	}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[1] == "Read" {
			read += number(fields[2])
		} else if len(fields) == 3 && fields[1] == "Write" {
			written += number(fields[2])
		}
	}
	return read, written
}
