package stats

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rexec-guest/internal/cgroup"
)

// tree is a directory as a kernel shows it.
type tree map[string]string

const (
	memoryStat2 = "anon 41881600\nfile 91496448\nkernel 5431296\ninactive_anon 0\nactive_anon 41877504\n" +
		"inactive_file 71303168\nactive_file 20193280\nunevictable 0\nworkingset_refault_file 12\n"
	cpuStat2 = "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnr_periods 10\nnr_throttled 0\nthrottled_usec 0\n"
	ioStat2  = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n" +
		"8:0 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021\n253:0 \n"
	events2     = "low 0\nhigh 0\nmax 4211\noom 3\noom_kill 2\noom_group_kill 1\n"
	memoryStat1 = "cache 8192\nrss 4096\ninactive_file 1\ntotal_cache 91496448\ntotal_rss 41881600\ntotal_inactive_file 71303168\n"
	blkio1      = "8:16 Read 1459200\n8:16 Write 314773504\n8:16 Sync 0\n8:16 Total 316232704\n8:0 Read 90430464\n" +
		"8:0 Write 299008000\n8:0 Discard 50331648\n8:0 Total 439770112\nTotal 756002816\n"
)

var full = Stats{
	CPUUsageNS: 1_234_567_000, Memory: 138_809_344 - 71_303_168, MemoryLimit: 268_435_456, MemoryPeak: 150_000_000,
	Pids: 37, PidsLimit: 512, DiskRead: 91_889_664, DiskWrite: 613_781_504, OOMKills: 2,
}

func second(under string, without ...string) tree {
	made := tree{"cgroup.controllers": "cpuset cpu io memory pids\n"}
	for name, text := range (tree{
		"cgroup.controllers": "cpu io memory pids\n", "cpu.stat": cpuStat2, "memory.current": "138809344\n",
		"memory.stat": memoryStat2, "memory.max": "268435456\n", "memory.peak": "150000000\n", "memory.events": events2,
		"pids.current": "37\n", "pids.max": "512\n", "io.stat": ioStat2,
	}) {
		made[under+name] = text
	}
	for _, name := range without {
		delete(made, under+name)
	}
	return made
}

func first(cpuacct string) tree {
	return tree{
		cpuacct + "/cpuacct.usage": "1234567000\n", "memory/memory.usage_in_bytes": "138809344\n",
		"memory/memory.stat": memoryStat1, "memory/memory.limit_in_bytes": "268435456\n",
		"memory/memory.max_usage_in_bytes": "150000000\n",
		"memory/memory.oom_control":        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"pids/pids.current":                "37\n", "pids/pids.max": "512\n",
		"blkio/blkio.throttle.io_service_bytes": blkio1,
	}
}

func (files tree) with(name, text string) tree {
	files[name] = text
	return files
}

func changed(change func(*Stats)) Stats {
	stats := full
	change(&stats)
	return stats
}

func TestBothVersionsOfControlGroups(t *testing.T) {
	const own, foreign = "0::/\n", "0::/system.slice/docker-abc.scope\n"
	cases := map[string]struct {
		files  tree
		member string
		want   Stats
	}{
		"version 2 in a namespace":            {second(""), own, full},
		"version 2 without one":               {second("system.slice/docker-abc.scope/"), foreign, full},
		"version 2 whose path is not shown":   {second(""), foreign, full},
		"version 2 beyond the namespace":      {second(""), "0::/../other\n", full},
		"version 2 on a kernel before 5.19":   {second("", "memory.peak"), own, changed(func(s *Stats) { s.MemoryPeak = -1 })},
		"version 2 without the io controller": {second("", "io.stat"), own, changed(func(s *Stats) { s.DiskRead, s.DiskWrite = -1, -1 })},
		"version 2 without limits": {
			second("").with("memory.max", "max\n").with("pids.max", "max\n"), own,
			changed(func(s *Stats) { s.MemoryLimit, s.PidsLimit = -1, -1 }),
		},
		"version 2 with the base files only": {
			tree{"cgroup.controllers": "\n", "cpu.stat": cpuStat2}, own,
			Stats{CPUUsageNS: full.CPUUsageNS, Memory: -1, MemoryLimit: -1, MemoryPeak: -1, Pids: -1, PidsLimit: -1, DiskRead: -1, DiskWrite: -1, OOMKills: -1},
		},
		"version 1":                  {first("cpuacct"), "9:memory:/docker/abc\n0::/\n", full},
		"version 1, cpu together":    {first("cpu,cpuacct"), "9:memory:/docker/abc\n", full},
		"version 1 beside version 2": {first("cpuacct").with("unified/cgroup.controllers", "hugetlb\n"), foreign, full},
		"version 1 without limits": {
			first("cpuacct").with("memory/memory.limit_in_bytes", "9223372036854771712\n").with("pids/pids.max", "max\n"), own,
			changed(func(s *Stats) { s.MemoryLimit, s.PidsLimit = -1, -1 }),
		},
		"nothing": {tree{}, "", Stats{CPUUsageNS: -1, Memory: -1, MemoryLimit: -1, MemoryPeak: -1, Pids: -1, PidsLimit: -1, DiskRead: -1, DiskWrite: -1, OOMKills: -1}},
	}
	for name, c := range cases {
		dir := t.TempDir()
		root, member := filepath.Join(dir, "cgroup"), filepath.Join(dir, "membership")
		if err := os.WriteFile(member, []byte(c.member), 0o600); err != nil {
			t.Fatal(err)
		}
		for file, text := range c.files {
			_ = os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o755)
			if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if found := of(cgroup.Open(root, member)); found != c.want {
			t.Errorf("%s:\n%+v, not\n%+v", name, found, c.want)
		}
	}
}

// TestAGroupOfVersion2 is about a real one, where this machine lets one be made: its own use of the processor, not the machine's.
func TestAGroupOfVersion2(t *testing.T) {
	root := ""
	for _, place := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(place + "/cgroup.controllers"); err == nil {
			root = place
		}
	}
	made := fmt.Sprintf("%s/rexec-test-%d", root, os.Getpid())
	if root == "" || os.Mkdir(made, 0o755) != nil {
		t.Skip("no control group of version 2 can be made here")
	}
	defer func() { _ = syscall.Rmdir(made) }()
	group, err := os.Open(made)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	busy := exec.Command("sh", "-c", "while :; do :; done")
	busy.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := busy.Start(); err != nil {
		t.Skipf("nothing can be started in it: %v", err)
	}
	ended := func() {
		_ = busy.Process.Kill()
		_ = busy.Wait()
	}
	defer ended()
	member := fmt.Sprintf("/proc/%d/cgroup", busy.Process.Pid)
	if data, _ := os.ReadFile(member); !strings.Contains(string(data), "0::/") {
		t.Skipf("no membership: %q", data)
	}
	for deadline := time.Now().Add(time.Minute); of(cgroup.Open(root, member)).CPUUsageNS < 50_000_000; {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", of(cgroup.Open(root, member)))
		}
		time.Sleep(10 * time.Millisecond)
	}
	found, whole := of(cgroup.Open(root, member)), of(cgroup.Open(root, "/dev/null"))
	if whole.CPUUsageNS >= 0 && found.CPUUsageNS > whole.CPUUsageNS {
		t.Errorf("%+v of %+v", found, whole)
	}
	ended()
	for range 100 {
		if syscall.Rmdir(made) == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
}
