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
	s := Stats{
		MemoryLimit: limit(cgroup.Number("memory.max", "memory/memory.limit_in_bytes")),
		MemoryPeak:  cgroup.MemoryPeak(),
		Pids:        cgroup.Number("pids.current", "pids/pids.current"),
		PidsLimit:   limit(cgroup.Number("pids.max", "pids/pids.max")),
		OOMKills:    cgroup.OOMKills(),
	}
	s.CPUUsageNS = cpu()
	s.Memory = memory()
	s.DiskUsage, s.DiskTotal = disk()
	s.NetRX, s.NetTX = network()
	s.DiskRead, s.DiskWrite = transfers()
	return s
}

func limit(value int64) int64 {
	if value >= none {
		return -1
	}
	return value
}

func cpu() int64 {
	if cgroup.V2() {
		if used := cgroup.Field("cpu.stat", "usage_usec"); used >= 0 {
			return used * 1000
		}
		return -1
	}
	return cgroup.Number("cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage")
}

// memory is what is used without the part of the cache that the kernel gives back first.
func memory() int64 {
	used := cgroup.Number("memory.current", "memory/memory.usage_in_bytes")
	if used < 0 {
		return -1
	}
	cache := cgroup.Field("memory.stat", "inactive_file")
	if !cgroup.V2() {
		cache = cgroup.Field("memory/memory.stat", "total_inactive_file")
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

func transfers() (read, written int64) {
	if text, ok := cgroup.Text("io.stat"); ok {
		for field := range strings.FieldsSeq(text) {
			if value, ok := strings.CutPrefix(field, "rbytes="); ok {
				read += number(value)
			} else if value, ok := strings.CutPrefix(field, "wbytes="); ok {
				written += number(value)
			}
		}
		return read, written
	}
	text, ok := cgroup.Text("blkio/blkio.throttle.io_service_bytes")
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
